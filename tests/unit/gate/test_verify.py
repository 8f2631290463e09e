"""Step 1: bundle, manifest and approval belong together, whatever else is asked at the same time."""

from dataclasses import fields

from flame_fl.contract.fab import Fab
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.task import Run
from flame_fl.gate.verify import Verifier
from tests.support.gates import World, make_fab

ONE, OTHER = make_fab(), make_fab(files={"app/client.py": b"steal()\n"})


def test_a_bundle_is_read_once_while_it_stays_the_same(world: World) -> None:
    verifier = world.gate._verifier
    assert verifier.read(Run(1, ONE)) == verifier.read(Run(2, ONE))
    assert verifier.read(Run(1, ONE))[0] is verifier.read(Run(2, bytes(ONE)))[0]


def test_a_bundle_is_never_paired_with_the_manifest_of_another(world: World) -> None:
    """What is remembered may be replaced by another thread between any two looks at it."""
    remembered = []
    for raw_fab in (ONE, OTHER):
        run = Run(1, raw_fab)
        remembered.append((run.fab_sha256, *world.gate._verifier.read(run)))

    class Replaced(Verifier):
        """Remembers another bundle at every look."""

        @property
        def _last(self) -> tuple[str, Fab, Manifest]:
            remembered.reverse()
            return remembered[0]

        @_last.setter
        def _last(self, value: object) -> None:
            """Another thread's turn."""

    verifier = Replaced(**{f.name: getattr(world.gate._verifier, f.name) for f in fields(Verifier) if f.init})
    for _ in range(4):
        fab, manifest = verifier.read(Run(1, ONE))
        assert fab.content_sha256 == manifest.fab_content_sha256
        assert fab.files["app/client.py"] == b"app = 1\n"


def test_every_message_is_compared_with_the_bytes_that_came_with_it(world: World) -> None:
    world.decide(ONE)
    assert [world.code(raw, leg=str(leg)) for leg, raw in enumerate((ONE, OTHER, ONE))] == [None, 902, None]
