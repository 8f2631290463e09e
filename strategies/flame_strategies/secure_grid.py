"""Secure aggregation at the hub: a `Grid` under which every strategy for sums and means works unchanged.

Where the gates' terms want answers masked, a node's reply is noise to whoever reads it, and only the sum over all nodes
can be unmasked. `secure(grid)` sends the messages, runs the protocol (`flame_fl.secagg`; docs/secure-aggregation.md)
and hands out replies that stand for the sum:

* what adds up (sums, counts, histograms) is whole in the first node's reply and zero in the others';
* of what is averaged (models, means, rates) every reply has the mean, and an equal part of the whole weight.

So a sum of the replies is the sum, a weighted mean of them the mean. What is not linear in the replies is not: each
says so in its record "flame", ``masked_sites``.

In the steady state a round takes two exchanges: the message itself, in whose answer the keys for the next one come
along, and the unmasking. A round in which nodes were lost takes one more, in which the others sign who is left.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.serverapp import Grid

from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.hub import remove_masks, requests
from flame_fl.secagg.messages import (
    ADVERTISE,
    KEY,
    SHARE,
    SURVIVORS,
    UNMASK,
    Advertisement,
    AdvertiseRequest,
    Published,
    ShareRequest,
    Shares,
    Signed,
    Strict,
    SurvivorsRequest,
    UnmaskRequest,
)
from flame_strategies.approval import GATE_RECORD, STATUS_MESSAGE
from flame_strategies.errors import NotEnoughNodes, UnusableReply
from flame_strategies.secure_replies import Masked, hand_out, masked_of, total_of
from flame_strategies.secure_setup import MaskTerms, SetUp, terms_of
from flame_strategies.secure_test import relayed, step_of

Model = TypeVar("Model", bound=Strict)

_ATTRIBUTE = "_flame_secure_grid"
_PING_SECONDS = 20.0
_LEFT_OUT = 0  # no code of Flower's, nor of a gate's
_LOST = "this node is not in the masked sum"


def secure(grid: Grid) -> "SecureGrid":
    """The grid with secure aggregation where the terms want it; one for each grid, so that a set-up lasts."""
    if isinstance(grid, SecureGrid):
        return grid
    found = getattr(grid, _ATTRIBUTE, None)
    if not isinstance(found, SecureGrid):
        found = SecureGrid(grid)
        setattr(grid, _ATTRIBUTE, found)
    return found


class SecureGrid(Grid):
    """A grid whose `send_and_receive` masks what the terms want masked.

    Attributes:
        set_up: Who takes part, and their keys for the next sum; None before the first masked message.
        set_ups: How many set-ups there were.
    """

    def __init__(self, grid: Grid, *, leg_seconds: float = 120.0) -> None:
        self._grid = grid
        self._leg_seconds = leg_seconds
        self._told: dict[int, MaskTerms] = {}
        self._epoch = 0
        self.set_up: SetUp | None = None
        self.set_ups = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._grid, name)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send and wait, as Flower's grid does.

        Raises:
            NotEnoughNodes: Fewer nodes than the terms allow are left to a masked sum; nothing of it was unmasked.
            UnusableReply: The nodes' answers cannot be added up.
        """
        batch = list(messages)
        kind = batch[0].metadata.message_type if batch else ""
        if kind.startswith("query.flame_") or not batch:
            replies = list(self._grid.send_and_receive(batch, timeout=timeout))
            if kind == STATUS_MESSAGE:
                self._learn(replies)
            return replies
        terms = self._terms(batch, timeout)
        if terms is None or kind not in terms.masked:
            return self._grid.send_and_receive(batch, timeout=timeout)
        return self._sum({message.metadata.dst_node_id: message for message in batch}, terms, timeout)

    # --- the protocol ------------------------------------------------------------------------------------------

    def _sum(self, batch: dict[int, Message], terms: MaskTerms, timeout: float | None) -> list[Message]:
        set_up = self._set_up_for(tuple(batch), terms)
        inside = {node: set_up.parties[node] for node in batch if set_up.parties.get(node) in set_up.published}
        published = {party: set_up.published[party] for party in inside.values()}
        if len(inside) < set_up.parameters.fewest:
            self.set_up = None
            raise NotEnoughNodes(_too_few(len(inside), set_up))
        try:
            asked = requests(published)
        except MaskError as error:
            self.set_up = None
            raise NotEnoughNodes(f"A site's keys for the next sum cannot be used: {error.message}.") from error
        sent = {node: _with(batch[node], asked[party]) for node, party in inside.items()}
        replies = {r.metadata.src_node_id: r for r in self._grid.send_and_receive(sent.values(), timeout=timeout)}
        replies = self._test_counts(replies, inside)
        masked: dict[int, Masked] = {}
        for node, reply in replies.items():
            found = masked_of(reply) if reply.has_content() else None
            if found is not None and found.said.party == inside.get(node):
                masked[node] = found
        if len({one.said.context for one in masked.values()}) > 1:
            self.set_up = None
            raise UnusableReply("The nodes were asked different things: under masks all of them need the same message.")
        common = _common_layout(masked)
        masked = {node: one for node, one in masked.items() if one.said.layout == common}
        total = self._unmasked(set_up, published, masked)
        self.set_up = set_up.after({one.said.party: one.said.published for one in masked.values()})
        models = {node: batch[node].content for node in masked}
        answers = hand_out({node: replies[node] for node in masked}, masked, total, models)
        others = [_lost(sent[node], replies.get(node)) for node in sent if node not in masked]
        return [answers[node] for node in batch if node in answers] + [reply for reply in others if reply is not None]

    def _test_counts(self, replies: dict[int, Message], inside: dict[int, str]) -> dict[int, Message]:
        """Relay a minimum-count test between the nodes, if they began one; then their answers are masked."""
        while steps := {node: step for node, reply in replies.items() if (step := step_of(reply)) is not None}:
            first = next(iter(steps.values()))
            if steps.keys() != inside.keys() or any(
                step.said.exchange != first.said.exchange for step in steps.values()
            ):
                self.set_up = None
                raise NotEnoughNodes(
                    f"{len(steps)} of {len(inside)} sites are left in a minimum-count test, which needs all of them. "
                    "Nothing of the counts was revealed; ask again for a new set-up without those that are lost."
                )
            messages = relayed(steps, inside)
            answers = self._grid.send_and_receive(messages, timeout=self._leg_seconds)
            replies = {reply.metadata.src_node_id: reply for reply in answers}
            if replies.keys() != inside.keys() or any(not reply.has_content() for reply in replies.values()):
                self.set_up = None
                raise NotEnoughNodes("A site was lost in a minimum-count test, which needs all of them.")
        return replies

    def _unmasked(self, set_up: SetUp, published: dict[str, Published], masked: dict[int, Masked]) -> Any:
        survivors = tuple(sorted(one.said.party for one in masked.values()))
        if len(survivors) < set_up.parameters.fewest:
            self.set_up = None
            raise NotEnoughNodes(_too_few(len(survivors), set_up))
        first = next(iter(masked.values())).said
        stated = {"epoch": first.epoch, "index": first.index, "survivors": survivors}
        signatures: dict[str, str] = {}
        if len(survivors) < len(published):
            request = SurvivorsRequest.model_validate(stated)
            signed = self._leg(SURVIVORS, dict.fromkeys(masked, request), Signed)
            signatures = {one.party: one.signature for one in signed.values()}
        request_all = UnmaskRequest.model_validate({**stated, "signatures": signatures})
        shares = self._leg(UNMASK, dict.fromkeys(masked, request_all), Shares)
        total = total_of(masked)
        try:
            remove_masks(
                total,
                set_up.holders,
                set_up.parameters.threshold,
                keys={party: said.key for party, said in published.items()},
                answers={set_up.parties[node]: said for node, said in shares.items()},
                survivors=survivors,
                context=first.context,
            )
        except MaskError as error:
            self.set_up = None
            raise NotEnoughNodes(
                f"The sum of {len(survivors)} sites could not be unmasked: {error.message}."
            ) from error
        return total

    def _set_up_for(self, nodes: tuple[int, ...], terms: MaskTerms) -> SetUp:
        """The set-up that there is, or a new one if nodes are asked that are not, or no longer, in it."""
        there = self.set_up
        if there is not None:
            left = {node for node, party in there.parties.items() if party in there.published}
            if len(left & set(nodes)) >= there.parameters.fewest:
                back = self._reached(tuple(node for node in nodes if node not in left))
                nodes = tuple(node for node in nodes if node in left or node in back)
                if not back or len(nodes) < terms.min_sites:
                    return there
        self._epoch = max(self._epoch, 0 if getattr(self._grid, "flame_replays", False) else terms.epoch) + 1
        ads = self._leg(ADVERTISE, dict.fromkeys(nodes, AdvertiseRequest(epoch=self._epoch)), Advertisement)
        if len(ads) < max(terms.min_sites, 1):
            self.set_up = None
            raise NotEnoughNodes(
                f"{len(ads)} of {len(nodes)} nodes take part in a set-up of secure aggregation; the terms ask for "
                f"{terms.min_sites}. Ask their stewards whether they are up and have the project's roster."
            )
        request = ShareRequest(epoch=self._epoch, advertisements=tuple(ads.values()))
        published = self._leg(SHARE, dict.fromkeys(ads, request), Published)
        parties = {node: ad.party for node, ad in ads.items()}
        self.set_ups += 1
        self.set_up = SetUp(
            parties, {parties[node]: said for node, said in published.items()}, terms.dropouts, terms.colluding
        )
        return self.set_up

    def _reached(self, nodes: tuple[int, ...]) -> set[int]:
        """Those whose gates answer: a set-up that nobody returns to would cost the one that there is."""
        questions = [Message(RecordDict(), message_type=STATUS_MESSAGE, dst_node_id=node) for node in nodes]
        replies = self._grid.send_and_receive(questions, timeout=_PING_SECONDS) if questions else []
        return {reply.metadata.src_node_id for reply in replies if reply.has_content()}

    def _leg(self, kind: str, asked: dict[int, Any], answer: type[Model]) -> dict[int, Model]:
        """One exchange of the protocol; nodes that do not answer, or not with what was asked, are left out."""
        messages = [_own_message(node, kind, request) for node, request in asked.items()]
        found: dict[int, Model] = {}
        for reply in self._grid.send_and_receive(messages, timeout=self._leg_seconds):
            record = reply.content.config_records.get(GATE_RECORD) if reply.has_content() else None
            if record is None:
                continue
            try:
                found[reply.metadata.src_node_id] = answer.read(record.get(KEY))
            except MaskError:
                continue
        return {node: found[node] for node in asked if node in found}

    # --- what the gates want ------------------------------------------------------------------------------------

    def _terms(self, batch: list[Message], timeout: float | None) -> MaskTerms | None:
        nodes = [message.metadata.dst_node_id for message in batch]
        if unknown := [node for node in nodes if node not in self._told]:
            questions = [Message(RecordDict(), message_type=STATUS_MESSAGE, dst_node_id=node) for node in unknown]
            self._learn(self._grid.send_and_receive(questions, timeout=min(timeout or 60.0, 60.0)))
        wanted = {node: self._told[node] for node in nodes if node in self._told}
        masking = [terms for terms in wanted.values() if terms.masked]
        if not masking:
            return None
        newest = max(terms.epoch for terms in masking)
        return MaskTerms(masking[0].masked, masking[0].dropouts, masking[0].colluding, masking[0].min_sites, newest)

    def _learn(self, replies: Iterable[Message]) -> None:
        for reply in replies:
            if reply.has_content() and (record := reply.content.config_records.get(GATE_RECORD)) is not None:
                self._told[reply.metadata.src_node_id] = terms_of(record)

    # --- the rest of Flower's interface -------------------------------------------------------------------------

    def set_run(self, run: Any) -> None:
        """As the grid's."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """As the grid's."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """As the grid's."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """As the grid's."""
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[Any]:
        """As the grid's."""
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As the grid's, where nothing is to be masked.

        Raises:
            UnusableReply: The terms want these answers masked: they only come all together.
        """
        batch = list(messages)
        terms = self._terms(batch, None) if batch and ".flame_" not in batch[0].metadata.message_type else None
        if terms is not None and batch[0].metadata.message_type in terms.masked:
            raise UnusableReply("Answers that are masked come all together; use send_and_receive.")
        return self._grid.push_messages(batch)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the grid's."""
        return self._grid.pull_messages(message_ids)


def _own_message(node: int, kind: str, request: Strict) -> Message:
    content = RecordDict({GATE_RECORD: ConfigRecord({KEY: request.text()})})
    return Message(content, message_type=kind, dst_node_id=node)


def _with(message: Message, request: Strict) -> Message:
    """The same message, with what the node's gate needs to mask its answer."""
    own = ConfigRecord({**message.content.config_records.get(GATE_RECORD, {}), KEY: request.text()})
    content = RecordDict({**dict(message.content.items()), GATE_RECORD: own})
    metadata = message.metadata
    return Message(
        content,
        message_type=metadata.message_type,
        dst_node_id=metadata.dst_node_id,
        group_id=metadata.group_id,
        ttl=metadata.ttl,
    )


def _common_layout(masked: dict[int, Masked]) -> str:
    """The layout that most have; where two are as common, the first."""
    layouts = [one.said.layout for one in masked.values()]
    return max(layouts, key=layouts.count) if layouts else ""


def _lost(message: Message, reply: Message | None) -> Message | None:
    """The answer of a node that is not in the sum: its own refusal, or that it was left out; None if it was silent."""
    if reply is None or reply.has_error():
        return reply
    return Message(Error(_LEFT_OUT, _LOST), reply_to=message)


def _too_few(left: int, set_up: SetUp) -> str:
    return (
        f"{left} of the {len(set_up.holders)} sites of a masked sum are left, {set_up.parameters.fewest} are the "
        f"fewest ({set_up.parameters.dropouts} may drop out). Nothing of it was unmasked."
    )
