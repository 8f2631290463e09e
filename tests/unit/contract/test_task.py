"""What identifies a message: its type, its group and every bit of its content."""

from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.task import Run, Task

ARRAYS = {"r": {"a": np.array([0.0, 1.0])}}


def task(content: Content | None = None, kind: str = "train", group: str = "1", leg: str = "1") -> Task:
    return Task(Run(1, b""), leg, kind, group, Content(ARRAYS) if content is None else content)


def test_the_same_message_has_the_same_digest_under_any_leg() -> None:
    assert task(leg="1").sha256 == task(leg="2").sha256


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "evaluate"},
        {"group": "2"},
        {"content": Content({"r": {"a": np.array([-0.0, 1.0])}})},
        {"content": Content({"r": {"a": np.array([0.0, 1.0], np.float32)}})},
        {"content": Content({"r": {"a": np.array([[0.0, 1.0]])}})},
        {"content": Content({"r": {"b": np.array([0.0, 1.0])}})},
        {"content": Content({**ARRAYS, "s": {}})},
        {"content": Content(ARRAYS, {"m": {"x": 1}})},
        {"content": Content(ARRAYS, {}, {"c": {"x": 1}})},
    ],
)
def test_any_difference_is_another_message(other: dict[str, Any]) -> None:
    assert task(**other).sha256 != task().sha256


def test_the_bundles_hash_is_computed_here() -> None:
    assert Run(1, b"abc").fab_sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
