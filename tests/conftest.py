"""Fixtures every test may use: hypothesis without deadlines, and a DIZ with a gate."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.gates import World

# A slow machine must not fail a test; examples are drawn anew each time, and a failing one is printed to be replayed.
settings.register_profile(
    "flame", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("flame")


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Builds a DIZ in a folder of its own."""
    worlds: list[World] = []

    def make(**fields: Any) -> World:
        worlds.append(World(tmp_path / f"diz-{len(worlds)}", **fields))
        return worlds[-1]

    yield make
    for world in worlds:
        world.store.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A DIZ with a cohort of 100 patients and seeded noise."""
    return make_world()
