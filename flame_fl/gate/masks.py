"""Secure aggregation at the gate: the legs that need no sandbox, and the masks of those that do.

Rules this module follows:

1. Who takes part is the project's roster at this DIZ: without it, or without this DIZ in it, nothing is masked and so
   nothing leaves.
2. Whether a sum may be masked is decided before the sandbox sees data; its key is used up in the transaction that
   stores the masked answer.
3. Keys are erased with the next sum, with the approval, and with a run's stored replies.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from flame_fl.contract.canonical import digest
from flame_fl.contract.content import EMPTY, Content
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.statement import project_digest
from flame_fl.contract.task import OWN_RECORD
from flame_fl.contract.terms import Terms
from flame_fl.gate.signatures import fingerprint, public_text
from flame_fl.gate.store import Store
from flame_fl.secagg import counted, node
from flame_fl.secagg.counted import Guard, Held
from flame_fl.secagg.encoding import Layout
from flame_fl.secagg.epoch import Epoch
from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.messages import (
    ADVERTISE,
    KEY,
    MASKED_ARRAY,
    MASKED_RECORD,
    SHARE,
    SURVIVORS,
    TEST,
    TEST_RECORD,
    UNMASK,
    AdvertiseRequest,
    MaskedReply,
    MaskRequest,
    ShareRequest,
    Strict,
    SurvivorsRequest,
    TestStep,
    UnmaskRequest,
)
from flame_fl.secagg.node import Member, Opening
from flame_fl.secagg.parameters import Parameters
from flame_fl.secagg.streams import Words

LEGS = frozenset({ADVERTISE, SHARE, SURVIVORS, TEST, UNMASK})
"""What a gate answers itself."""
MOST_EXCHANGES = 12
"""Of one minimum-count test: k = 1000 where two shares are multiplied at a time."""
SPARE_LEGS = 16
"""So many of each beyond the messages that the terms allow: set-ups after a loss."""


@dataclass(frozen=True)
class OpenSum:
    """A sum that this node may take part in, once."""

    member: Member
    state: Epoch
    opening: Opening
    request: MaskRequest
    asked: str
    parameters: Parameters
    index: int
    absent: frozenset[str]
    """Arrays that this site does not supply."""
    tested: frozenset[str]
    """Arrays of which only what reaches `least` leaves."""
    least: int


class Waiting(Strict):
    """Counts that wait for a test, and the sum that they are for."""

    held: Held
    request: MaskRequest
    asked: str
    same: str
    """What must still be so when the test is over: the cohorts, and the approval."""

    @classmethod
    def kept(cls, text: str) -> "Waiting":
        """What this node stored itself: an answer may be larger than any message's text."""
        return cls.model_validate_json(text)


@dataclass
class Masks:
    """A node's half of secure aggregation.

    Args:
        store: Its state.
        identity: Its identity key; without one nothing is masked.
    """

    store: Store
    identity: Ed25519PrivateKey | None

    def open(self, terms: Terms, analysis: str, run_id: str, content: Content, asked: str) -> OpenSum:
        """The sum that a message is for, checked before anything looks at data.

        Raises:
            RefusedError: 908, this node cannot or must not take part in it.
        """
        try:
            roster = self._roster(terms)
            member = self._member(terms, roster, analysis, run_id)
            state = self._state(run_id)
            request = MaskRequest.read(_text(content))
            opening = node.open_sum(member, state, request, asked)
            if terms.secure_aggregation.min_total_of and opening.sealed.keys() != member.roster.keys():
                raise MaskError("counts whose totals are tested are added up over all sites of the roster")
            if self.store.held_counts(run_id):
                raise MaskError("counts of this sum wait for their test; end that, or make a new set-up")
        except MaskError as err:
            raise refused(err) from err
        own = {name for name, party in _parties(roster).items() if party == member.party}
        absent = {array for array, sites in terms.secure_aggregation.support.items() if not own & set(sites)}
        index = state.next.index if state.next else 0
        stated = terms.secure_aggregation
        return OpenSum(
            member,
            state,
            opening,
            request,
            asked,
            state.parameters,
            index,
            frozenset(absent),
            frozenset(stated.min_total_of),
            stated.min_total or 0,
        )

    def leave(
        self,
        opened: OpenSum,
        run_id: str,
        layout: Layout,
        vector: Words,
        *,
        guards: tuple[Guard, ...] = (),
        same: str = "",
    ) -> Content:
        """What leaves of an answer: the masked vector, or the first messages of a minimum-count test about its counts.

        Call it in the transaction that stores the answer.

        Raises:
            RefusedError: 908, the sum's key was used meanwhile, or the counts cannot be tested.
        """
        try:
            if self._state(run_id) != opened.state:
                raise MaskError("the key of this sum was used meanwhile")
        except MaskError as err:
            raise refused(err) from err
        spans = _spans(layout, opened.tested)
        if not spans and not guards:
            return self._masked(
                opened.member, opened.state, opened.opening, run_id=run_id, layout=layout.text(), vector=vector
            )
        try:
            held, sealed = counted.begin(
                opened.member,
                opened.state,
                opened.opening,
                layout=layout.text(),
                vector=vector,
                spans=spans,
                guards=guards,
                least=opened.least,
            )
        except MaskError as err:
            raise refused(err) from err
        self.store.hold_counts(run_id, Waiting(held=held, request=opened.request, asked=opened.asked, same=same).text())
        return _of_test(opened.member, opened.state, held, sealed)

    def _masked(
        self,
        member: Member,
        state: Epoch,
        opening: Opening,
        *,
        run_id: str,
        layout: str,
        vector: Words,
        whole: bool = False,
    ) -> Content:
        index = state.next.index if state.next else 0
        after, published = node.mask(member, state, opening, vector, whole=whole)
        self.store.put_mask_state(run_id, after.epoch, after.text())
        said = MaskedReply(
            party=member.party,
            epoch=after.epoch,
            index=index,
            layout=layout,
            published=published,
            context=opening.context,
        )
        return Content(arrays={MASKED_RECORD: {MASKED_ARRAY: vector}}, configs={OWN_RECORD: {KEY: said.text()}})

    def answer(self, message_type: str, terms: Terms, analysis: str, run_id: str, content: Content) -> Content:
        """Answer one of `LEGS`. Call it in the transaction that stores the answer.

        Raises:
            RefusedError: 908, the message is none, or would reveal more than the terms allow.
        """
        try:
            member = self._member(terms, self._roster(terms), analysis, run_id)
            text = _text(content)
            if message_type == ADVERTISE:
                return _said(self._advertise(member, run_id, AdvertiseRequest.read(text)))
            state = self._state(run_id)
            if message_type == TEST:
                return self._test(member, state, run_id, content)
            match message_type:
                case "query.flame_sa_shares":
                    state, said = node.share(member, state, ShareRequest.read(text))
                    answer = said.text()
                case "query.flame_sa_survivors":
                    state, signed = node.sign_survivors(member, state, SurvivorsRequest.read(text))
                    answer = signed.text()
                case _:
                    state, shares = node.unmask(member, state, UnmaskRequest.read(text))
                    answer = shares.text()
        except MaskError as err:
            raise refused(err) from err
        self.store.put_mask_state(run_id, state.epoch, state.text())
        return _said(answer)

    def require_same(self, run_id: str, same: str) -> None:
        """Check, before counts that waited for a test leave, that a steward or a patient decided nothing meanwhile.

        Raises:
            RefusedError: 907.
        """
        text = self.store.held_counts(run_id)
        if text and Waiting.kept(text).same != same:
            raise RefusedError(RefusalCode.WITHDRAWN_OR_EXPIRED, "a cohort or the approval changed during a test")

    def _test(self, member: Member, state: Epoch, run_id: str, content: Content) -> Content:
        """One exchange of a minimum-count test; the last one's answer is the masked vector."""
        text = self.store.held_counts(run_id)
        if not text:
            raise MaskError("no counts wait for a minimum-count test")
        waiting = Waiting.kept(text)
        received = {p: a.tobytes() for p, a in content.arrays.get(TEST_RECORD, EMPTY).items() if a.dtype == np.uint8}
        held, sealed, over = counted.take(member, state, waiting.held, TestStep.read(_text(content)), received)
        if not over:
            self.store.hold_counts(run_id, waiting.model_copy(update={"held": held}).text())
            return _of_test(member, state, held, sealed)
        opening = node.open_sum(member, state, waiting.request, waiting.asked)
        self.store.hold_counts(run_id, "")
        return self._masked(member, state, opening, run_id=run_id, layout=held.layout, vector=held.words(), whole=True)

    def _advertise(self, member: Member, run_id: str, request: AdvertiseRequest) -> str:
        newest, _ = self.store.mask_state(run_id)
        if request.epoch <= newest:
            raise MaskError("the run has had this set-up; number a new one higher")
        state, said = node.advertise(member, request.epoch)
        self.store.put_mask_state(run_id, state.epoch, state.text())
        self.store.hold_counts(run_id, "")  # what waited was for a sum of the set-up before
        return said.text()

    def _state(self, run_id: str) -> Epoch:
        _, text = self.store.mask_state(run_id)
        if not text:
            raise MaskError(
                "there is no set-up of this run here: the ServerApp begins one, flame_strategies.secure(grid)"
            )
        return Epoch.read(text)

    def _roster(self, terms: Terms) -> Mapping[str, str]:
        project = self.store.project(project_digest(terms.project))
        if project is None or not project.roster:
            raise MaskError("nobody entered here which sites take part in this project: flame node project roster")
        return project.roster

    def _member(self, terms: Terms, roster: Mapping[str, str], analysis: str, run_id: str) -> Member:
        if self.identity is None:
            raise MaskError("this node has no identity to sign with")
        parties = _parties(roster)
        party = fingerprint(public_text(self.identity.public_key()))
        if party not in parties.values():
            raise MaskError("this site is not on its own roster of the project")
        stated = terms.secure_aggregation
        supports = []
        for array, sites in stated.support.items():
            if unknown := sorted(set(sites) - set(parties)):
                raise MaskError(f"the roster here knows no site {unknown[0]!r}, which is to supply {array!r}")
            supports.append(frozenset(parties[site] for site in sites))
        return Member(
            identity=self.identity,
            party=party,
            roster={parties[name]: _key(text) for name, text in roster.items()},
            context=digest({"analysis": analysis, "run": run_id}),
            dropouts=stated.dropouts,
            colluding=stated.colluding,
            min_sites=terms.federation.min_sites,
            supports=tuple(supports),
        )


def refused(err: MaskError) -> RefusedError:
    """A refusal's form: the sentence stays in this node's log."""
    return RefusedError(RefusalCode.TERMS_VIOLATED, f"secure aggregation: {err.message}")


def _said(text: str) -> Content:
    return Content(configs={OWN_RECORD: {KEY: text}})


def _of_test(member: Member, state: Epoch, held: Held, sealed: Mapping[str, bytes]) -> Content:
    said = TestStep(party=member.party, epoch=state.epoch, index=held.index, exchange=held.exchange)
    arrays = {party: np.frombuffer(text, np.uint8) for party, text in sealed.items()}
    return Content(arrays={TEST_RECORD: arrays}, configs={OWN_RECORD: {KEY: said.text()}})


def _spans(layout: Layout, tested: frozenset[str]) -> tuple[tuple[int, int], ...]:
    """Where in a vector the counts are whose totals are tested."""
    spans, offset = [], 0
    for part in layout.parts:
        if f"{part.record}/{part.name}" in tested and part.size:
            spans.append((offset, offset + part.size))
        offset += part.size
    return tuple(spans)


def _text(content: Content) -> object:
    return content.configs.get(OWN_RECORD, EMPTY).get(KEY)


def _parties(roster: Mapping[str, str]) -> dict[str, str]:
    return {name: fingerprint(text) for name, text in roster.items()}


def _key(text: str) -> Ed25519PublicKey:
    key = load_ssh_public_key(text.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise MaskError("the roster holds a key that is not Ed25519")
    return key
