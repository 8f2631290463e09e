"""One federation for all faults; whatever was killed, ending it leaves no container and no process."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker.errors
import pytest

from tests.support.engine import engine, test_image
from tests.support.faults import Federation, wait_for

NAME = "flame-test-faults"
STEADY = Path(__file__).parent / "apps" / "steady"


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A hub and three nodes that approved the app with the enforced claim."""
    client, image = engine(), test_image()
    client.images.get(image).tag(NAME, "in-use")  # whoever builds a newer one meanwhile must not remove this one
    federation = Federation(tmp_path_factory.mktemp("faults"), image)
    federation.up()
    try:
        federation.offer_data()
        federation.approve(STEADY)
        yield federation
    finally:
        owners = federation.owners()
        federation.down()
    assert {part: federation.containers(part) for part in owners} == {part: [] for part in owners}
    with suppress(docker.errors.NotFound):
        client.images.remove(f"{NAME}:in-use", noprune=True)
    wait_for(lambda: not federation.processes(), f"the end of {federation.processes()}", 15)


@pytest.fixture
def whole(federation: Federation) -> Iterator[Federation]:
    """The federation with all of its parts running; a run that a failed test left is ended."""
    federation.arm([])
    federation.up()
    yield federation
    federation.arm([])
    federation.end_runs()
