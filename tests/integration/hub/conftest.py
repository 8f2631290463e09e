"""Hubs for tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.hub.lab import Lab, make_app


@pytest.fixture(scope="session")
def hub() -> Iterator[Lab]:
    """A hub that is up, for all tests that leave it so: alice and DIZ-1 in a project, mallory and DIZ-2 in another."""
    lab = Lab()
    try:
        lab.init()
        lab.add_user("alice")
        lab.add_node("DIZ-1")
        lab.up()
        lab.add_user("mallory", "other")  # while the hub is up
        lab.add_node("DIZ-2", "other")
        lab.start_node("DIZ-1")
        lab.start_node("DIZ-2")
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="session")
def second_hub() -> Iterator[Lab]:
    """Another hub, with alice and DIZ-1 in it."""
    lab = Lab()
    try:
        lab.init()
        lab.add_user("alice")
        lab.add_node("DIZ-1")
        yield lab
    finally:
        lab.close()


@pytest.fixture
def lab(second_hub: Lab) -> Iterator[Lab]:
    """A hub whose processes a test may start and kill. Nothing of it is up before or afterwards."""
    yield second_hub
    second_hub.down()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app that counts steps."""
    return make_app(tmp_path)
