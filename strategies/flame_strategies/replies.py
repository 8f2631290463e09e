"""The replies of one leg, sorted: those that can be averaged, and why the others cannot.

Under secure aggregation a reply stands for a sum over sites: the first has the total of every count and sum, the others
have zeros, and all have the same means. The record "flame" then says how many sites are in it (``masked_sites``). Those
without a weight are no failures, and the mean over the one that is left is the mean over the sites.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from flwr.app import Message, RecordDict

from flame_strategies.approval import GATE_RECORD, Refusal, missing_answers, read_refusal
from flame_strategies.noise_aware import equally_weighted, noise_flaw

log = logging.getLogger("flwr.flame_strategies")

Flaw = Callable[[RecordDict, list[RecordDict]], str | None]


@dataclass(frozen=True)
class Sorted:
    """One leg's replies.

    Attributes:
        nodes: The nodes whose replies can be used, ascending.
        contents: Their replies.
        sites: How many sites stand behind them.
        is_masked: Whether they are sums over sites, so that none is a site's own.
        refusals: What the other nodes did, ascending.
    """

    nodes: tuple[int, ...]
    contents: list[RecordDict]
    sites: int
    is_masked: bool
    refusals: list[Refusal]


def sort_replies(  # noqa: PLR0917
    replies: Iterable[Message],
    asked: Collection[int],
    leg: str,
    server_round: int,
    weighted_by_key: str,
    flaw: Flaw,
) -> Sorted:
    """Sort replies in ascending order of the node id, in whatever order they came.

    Args:
        replies: What came.
        asked: Who was asked.
        leg: With which message type.
        server_round: In which round.
        weighted_by_key: The metric that is the weight.
        flaw: Why a reply cannot be used beside those before it, None if it can.
    """
    by_node = {reply.metadata.src_node_id: reply for reply in replies}
    failed = missing_answers(asked, by_node, leg, server_round=server_round)
    nodes: list[int] = []
    contents: list[RecordDict] = []
    masked = 0
    for node, reply in sorted(by_node.items()):
        refusal = read_refusal(reply, server_round=server_round)
        if refusal is None and (sites := masked_sites(reply.content)):
            masked = max(masked, sites)
            if _has_no_weight(reply.content, weighted_by_key):
                continue
        if refusal is None and (why := flaw(reply.content, contents)) is not None:
            refusal = Refusal(node, 0, "UNUSABLE_REPLY", why, leg, server_round)
        if refusal is None:
            if (odd := noise_flaw(reply.content)) is not None:
                log.warning("Round %d: the noise of node %d is unknown: %s", server_round, node, odd)
            nodes.append(node)
            contents.append(reply.content)
        else:
            failed.append(refusal)
    sites = masked if masked and contents else len(contents)
    return Sorted(tuple(nodes), equally_weighted(contents, weighted_by_key), sites, masked > 0, sorted(failed))


def masked_sites(content: RecordDict) -> int:
    """How many sites are in a reply that is a sum over sites; 0 for a site's own."""
    record = content.config_records.get(GATE_RECORD)
    value = None if record is None else record.get("masked_sites")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _has_no_weight(content: RecordDict, weighted_by_key: str) -> bool:
    metrics = list(content.metric_records.values())
    return len(metrics) == 1 and metrics[0].get(weighted_by_key) == 0
