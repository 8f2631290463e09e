"""Hubs for tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.hub.lab import Lab, make_app


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A hub of one's own, made but not up, with alice and DIZ-1 in it."""
    lab = Lab()
    try:
        lab.init()
        lab.add_user("alice")
        lab.add_node("DIZ-1")
        yield lab
    finally:
        lab.close()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app that counts steps."""
    return make_app(tmp_path)
