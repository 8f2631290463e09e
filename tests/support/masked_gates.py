"""Several gates that share a project's roster, and a hub between them that only passes on what they say.

`MaskedGates` is the hub: it asks every gate as the SuperLink would, and takes the masks off with `flame_fl.secagg.hub`.
A test may ask a gate something else at any point.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from flame_fl.contract.content import Content
from flame_fl.contract.ports import Envelope, NoiseSource
from flame_fl.contract.refusal import Refusal, RefusalCode
from flame_fl.contract.task import OWN_RECORD, Reply
from flame_fl.gate.approval import ProjectRecord, Status
from flame_fl.gate.signatures import fingerprint
from flame_fl.gate.workflow import NodeLimits
from flame_fl.secagg.encoding import Layout, decode
from flame_fl.secagg.hub import remove_masks, requests
from flame_fl.secagg.messages import (
    ADVERTISE,
    KEY,
    MASKED_ARRAY,
    MASKED_RECORD,
    SHARE,
    SURVIVORS,
    UNMASK,
    Advertisement,
    AdvertiseRequest,
    MaskedReply,
    MaskRequest,
    Published,
    ShareRequest,
    Shares,
    Signed,
    Strict,
    SurvivorsRequest,
    UnmaskRequest,
)
from flame_fl.secagg.parameters import Parameters
from tests.support.gates import LIMITS, NoNoise, World, make_fab, manifest_from, sent_message, terms_table

M = TypeVar("M", bound=Strict)
Sums = dict[tuple[str, str], npt.NDArray[Any]]
EVERY_DIGIT = {"significant_digits": 17, "exemption": "Made-up numbers."}
MASKED_TRAIN: dict[str, Any] = {
    "per_run": 3,
    "arrays": [
        {"record": "arrays", "name": "w", "dtype": "float64", "shape": [4], "max_abs": 16.0},
        {"record": "arrays", "name": "b", "dtype": "float32", "shape": [1], "kind": "sum", "max_abs": 16.0},
    ],
    "metrics": [
        {"record": "metrics", "name": "num-examples", "kind": "count", "max": 1000},
        {"record": "metrics", "name": "loss", "kind": "mean", "min": 0.0, "max": 10.0},
    ],
}


def masked_table(*, sites: int = 3, secure: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A complete [tool.flame] with secure aggregation required, weighted by num-examples."""
    stated = {"required": True, "weight": "num-examples", **(secure or {})}
    table = {
        "messages": {"train": MASKED_TRAIN},
        "secure_aggregation": stated,
        "federation": {"min_sites": sites},
        "disclosure": EVERY_DIGIT,
    }
    return terms_table(**(table | changes))


class MaskedGates:
    """n gates, named DIZ-1 to DIZ-n, each with an app that answers what `answers` says for its number.

    Args:
        folder: Where they live.
        table: [tool.flame].
        sites: n.
        answers: What the app of each number answers; an exception is raised in its place.
        roster: Names that each gate's steward entered; by default everybody's.
        noise: The noise source of each number.
        limits: Of every node.
    """

    def __init__(
        self,
        folder: Path,
        table: Mapping[str, Any],
        *,
        sites: int = 3,
        answers: Callable[[int], Content | bytes | Exception] | None = None,
        roster: Collection[str] | None = None,
        noise: Callable[[int], NoiseSource] = lambda number: NoNoise(),
        limits: NodeLimits = LIMITS,
    ) -> None:
        self.fab = make_fab(table)
        terms = manifest_from(self.fab).terms
        assert terms is not None
        self.terms = terms
        secure = terms.secure_aggregation
        self.parameters = Parameters(sites, secure.dropouts, secure.colluding)
        self.worlds: dict[str, World] = {}
        for number in range(1, sites + 1):
            name = f"DIZ-{number}"
            self.worlds[name] = World(folder / name, noise=noise(number), limits=limits, name=name)
            if answers is not None:
                self.worlds[name].sandbox.answer = _answering(answers, number)
        keys = {name: world.trust.node_key for name, world in self.worlds.items()}
        self.parties = {name: fingerprint(key) for name, key in keys.items()}
        entered = {name: key for name, key in keys.items() if roster is None or name in roster}
        for world in self.worlds.values():
            world.store.put_project(ProjectRecord(terms.project, Status.PENDING, roster=entered))
            world.decide(self.fab)
        self.published: dict[str, Published] = {}
        self._leg = 0

    def close(self) -> None:
        """Close every state file."""
        for world in self.worlds.values():
            world.store.close()

    # --- one exchange with one gate ------------------------------------------------------------------------------

    def ask(self, name: str, kind: str, content: Content, *, leg: str = "", run_id: int = 7) -> Reply | Refusal:
        """Send a message, under a new leg unless one is named."""
        self._leg += 1
        return self.worlds[name].ask(self.fab, content, leg=leg or f"leg-{self._leg}", kind=kind, run_id=run_id)

    def code(self, name: str, kind: str, request: Strict, **how: Any) -> RefusalCode | None:
        """The refusal's code for a leg of the protocol, None if it was answered."""
        answer = self.ask(name, kind, of(request), **how)
        return answer.code if isinstance(answer, Refusal) else None

    def say(self, name: str, kind: str, request: Strict, answer: type[M], **how: Any) -> M:
        """The answer to a leg of the protocol; fails if it was refused."""
        said = self.ask(name, kind, of(request), **how)
        assert isinstance(said, Reply), (name, said, self.worlds[name].detail)
        return answer.read(said.content.configs[OWN_RECORD][KEY])

    # --- a set-up ------------------------------------------------------------------------------------------------

    def advertise(self, epoch: int = 1, names: Collection[str] | None = None) -> ShareRequest:
        """The first leg at these gates, and what the second one tells them."""
        request = AdvertiseRequest(epoch=epoch)
        ads = [self.say(name, ADVERTISE, request, Advertisement) for name in self._these(names)]
        return ShareRequest(epoch=epoch, advertisements=tuple(ads))

    def set_up(self, epoch: int = 1, names: Collection[str] | None = None) -> "MaskedGates":
        """Both legs."""
        request = self.advertise(epoch, names)
        said = {name: self.say(name, SHARE, request, Published) for name in self._these(names)}
        self.published = {self.parties[name]: one for name, one in said.items()}
        return self

    # --- a sum ---------------------------------------------------------------------------------------------------

    def message(self, name: str, content: Content | None = None) -> Content:
        """What a gate is sent for the next sum."""
        request = requests(self.published)[self.parties[name]]
        return of(request, sent_message() if content is None else content)

    def request(self, name: str) -> MaskRequest:
        """The part of it that is the protocol's."""
        return requests(self.published)[self.parties[name]]

    def send(
        self, kind: str = "train", content: Content | None = None, lost: Collection[str] = ()
    ) -> dict[str, Content]:
        """Everybody's masked answers, but of those that are lost: these get no message."""
        replies: dict[str, Content] = {}
        messages = {name: self.message(name, content) for name in self._in_the_sum() if name not in lost}
        for name, message in messages.items():
            reply = self.ask(name, kind, message)
            assert isinstance(reply, Reply), (name, reply, self.worlds[name].detail)
            replies[name] = reply.content
        return replies

    def unmask(self, replies: Mapping[str, Content]) -> tuple[Layout, Sums]:
        """The sum of these answers, as numbers; afterwards the keys for the next one are there."""
        said = {name: said_of(content) for name, content in replies.items()}
        first = next(iter(said.values()))
        survivors = tuple(sorted(self.parties[name] for name in replies))
        stated: dict[str, Any] = {"epoch": first.epoch, "index": first.index, "survivors": survivors}
        signatures: dict[str, str] = {}
        if len(survivors) < len(self.published):
            signed = [self.say(name, SURVIVORS, SurvivorsRequest(**stated), Signed) for name in replies]
            signatures = {one.party: one.signature for one in signed}
        request = UnmaskRequest(**stated, signatures=signatures)
        shares = {self.parties[name]: self.say(name, UNMASK, request, Shares) for name in replies}
        total = sum_of(replies)
        remove_masks(
            total,
            sorted(self.parties.values()),
            self.parameters.threshold,
            keys={party: one.key for party, one in self.published.items()},
            answers=shares,
            survivors=survivors,
            context=first.context,
        )
        self.published = {self.parties[name]: one.published for name, one in said.items()}
        assert {one.layout for one in said.values()} == {first.layout}
        layout = Layout.read(first.layout)
        return layout, decode(layout, total)

    def sum(self, kind: str = "train", content: Content | None = None, lost: Collection[str] = ()) -> Sums:
        """A whole round."""
        return self.unmask(self.send(kind, content, lost))[1]

    def _these(self, names: Collection[str] | None) -> list[str]:
        return [name for name in self.worlds if names is None or name in names]

    def _in_the_sum(self) -> list[str]:
        return [name for name, party in self.parties.items() if party in self.published]


def of(request: Strict, content: Content | None = None) -> Content:
    """A message with a request of the protocol in it."""
    return replace(content or Content(), configs={OWN_RECORD: {KEY: request.text()}})


def said_of(content: Content) -> MaskedReply:
    """What a gate says beside a masked vector."""
    return MaskedReply.read(content.configs[OWN_RECORD][KEY])


def vector_of(content: Content) -> npt.NDArray[Any]:
    """The masked vector."""
    return content.arrays[MASKED_RECORD][MASKED_ARRAY]


def sum_of(replies: Mapping[str, Content]) -> npt.NDArray[Any]:
    """The masked vectors' sum, modulo 2^32 or 2^64."""
    vectors = [vector_of(content) for content in replies.values()]
    total = np.zeros_like(vectors[0])
    for vector in vectors:
        total += vector
    return total


def _answering(
    answers: Callable[[int], Content | bytes | Exception], number: int
) -> Callable[[Envelope], Content | bytes]:
    def answer(message: Envelope) -> Content | bytes:
        said = answers(number)
        if isinstance(said, Exception):
            raise said
        return said

    return answer
