"""Sums over sites: one message to each node, and the node-by-node sum of the arrays that come back.

Many pooled computations need only sums. `sum_of_sites` is one such exchange; `GridExchange` is a series of
them for one fit, and knows that the fit equals the pooled one only while the same nodes answer: a node that
answered before and does not now ends it (`SiteLost`), rather than giving a result of which nobody can say
whose it is.

Invariants:

* sums run in ascending order of the node id, floating point in float64 and integers in int64, so that the
  same replies give the same bits in whatever order they arrive;
* a reply with other names, shapes or kinds of numbers than the first, or with a value that is not finite, is
  an error that names the node: a sum over some sites for one array and over others for the next is never
  formed.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from flame_strategies.approval import Refusal, missing_answers, read_refusal
from flame_strategies.errors import NotEnoughNodes, SiteLost, UnusableReply
from flame_strategies.secure_grid import secure

log = logging.getLogger("flwr.flame_strategies")

SUMS_RECORD = "sums"

Sums = Mapping[str, npt.NDArray[Any]]
"""Arrays by name, each already summed over the sites."""

Content = Mapping[str, Mapping[str, Any]]
"""Records by name: one of numpy arrays becomes an `ArrayRecord`, one of plain numbers and words a
`ConfigRecord`."""

Exchange = Callable[[str, Content], Sums]
"""Asks all sites one thing, `(message type, content)`, and returns the sums of their answers."""


@dataclass(frozen=True)
class SiteSums:
    """What one exchange brought.

    Attributes:
        arrays: Each array of the replies, summed over `nodes`.
        metrics: What each node said in its metric records.
        nodes: The nodes that contributed, ascending.
        refusals: The nodes that did not, and why.
    """

    arrays: Sums
    metrics: Mapping[int, Mapping[str, Any]]
    nodes: tuple[int, ...]
    refusals: tuple[Refusal, ...]


def sum_of_sites(
    grid: Grid,
    node_ids: Iterable[int],
    message_type: str,
    content: RecordDict,
    *,
    min_nodes: int,
    timeout: float,
    required: Collection[int] = (),
    record: str = SUMS_RECORD,
) -> SiteSums:
    """Send one message to each node and sum the arrays of the replies.

    Args:
        grid: Flower's grid; where the terms want answers masked, only their sum is unmasked (`secure_grid`).
        node_ids: The nodes to ask, as a rule `Roster.approved`.
        message_type: For instance ``query.moments``.
        content: What every node receives.
        min_nodes: So many must contribute.
        timeout: Seconds to wait for the replies.
        required: Nodes whose absence would make the result another one; see `SiteLost`.
        record: Name of the replies' `ArrayRecord`.

    Raises:
        SiteLost: A node of `required` refused or did not answer.
        NotEnoughNodes: Fewer than `min_nodes` contributed.
        UnusableReply: The replies do not fit together.
    """
    asked = sorted(set(node_ids))
    messages = [Message(content, message_type=message_type, dst_node_id=node) for node in asked]
    answers = secure(grid).send_and_receive(messages, timeout=timeout)
    replies = {reply.metadata.src_node_id: reply for reply in answers}
    refusals = [refusal for reply in replies.values() if (refusal := read_refusal(reply)) is not None]
    refusals += missing_answers(asked, replies, message_type)
    refusals.sort()
    contributing = [node for node in asked if node in replies and replies[node].has_content()]
    reasons = "; ".join(f"node {r.node_id}: {r.code} {r.name}, {r.reason}" for r in refusals)
    if lost := tuple(sorted(set(required) - set(contributing))):
        raise SiteLost(
            f"Nodes {', '.join(map(str, lost))} contributed before and not to {message_type}, so the result would "
            f"not be that of one set of sites ({reasons or 'not asked'}). Start again without them.",
            lost,
        )
    if len(contributing) < min_nodes:
        raise NotEnoughNodes(
            f"{len(contributing)} of the required {min_nodes} nodes contributed to {message_type} "
            f"({reasons or 'no other node was asked'}). Ask their stewards (901, 902, 903, 907), or look into the "
            f"nodes' logs (904, 905, 906, 908)."
        )
    updates = {node: _arrays(replies[node], record) for node in contributing}
    metrics = {
        node: {name: value for part in replies[node].content.metric_records.values() for name, value in part.items()}
        for node in contributing
    }
    return SiteSums(add_up(updates), metrics, tuple(contributing), tuple(refusals))


def add_up(updates: Mapping[int, Mapping[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    """Sum arrays over nodes, in ascending order of the node id.

    Args:
        updates: Arrays by name, by node; all nodes with the same names, shapes and kinds of numbers.

    Returns:
        Sums by name: int64 for integers, float64 for floating point.

    Raises:
        UnusableReply: A node's arrays do not fit the first node's, or are not finite.
    """
    total: dict[str, npt.NDArray[Any]] = {}
    for position, node in enumerate(sorted(updates)):
        # the first ones are copied, because the others are added to them
        arrays = {name: _widen(array, node, name, copy=position == 0) for name, array in updates[node].items()}
        if position == 0:
            total = arrays
            continue
        if arrays.keys() != total.keys():
            odd = ", ".join(sorted(arrays.keys() ^ total.keys()))
            raise UnusableReply(f"Node {node} and the nodes before it do not both send: {odd}.")
        for name, array in arrays.items():
            if array.shape != total[name].shape or array.dtype != total[name].dtype:
                raise UnusableReply(
                    f"Node {node} sends {name} as {array.dtype}{list(array.shape)}, the nodes before it as "
                    f"{total[name].dtype}{list(total[name].shape)}; their data stores differ."
                )
            total[name] += array
    return total


def to_records(content: Content) -> RecordDict:
    """Content as Flower's records."""
    records: dict[str, ArrayRecord | ConfigRecord] = {}
    for name, values in content.items():
        if any(isinstance(value, np.ndarray) for value in values.values()):
            records[name] = ArrayRecord({key: Array(np.ascontiguousarray(value)) for key, value in values.items()})
        else:
            records[name] = ConfigRecord(dict(values))
    return RecordDict(dict(records))


class GridExchange:
    """The exchanges of one fit over Flower's grid; an `Exchange`.

    The nodes that answer the first message are the fit's sites. All of them must answer each later one.

    Attributes:
        sites: The fit's sites, ascending; empty before the first exchange.
        history: What each exchange brought apart from the sums: message type, metrics by node and refusals.
    """

    def __init__(self, grid: Grid, node_ids: Iterable[int], *, min_nodes: int = 2, timeout: float = 600.0) -> None:
        self._grid = grid
        self._asked = tuple(sorted(set(node_ids)))
        self._min_nodes = min_nodes
        self._timeout = timeout
        self.sites: tuple[int, ...] = ()
        self.history: list[tuple[str, Mapping[int, Mapping[str, Any]], tuple[Refusal, ...]]] = []

    def __call__(self, message_type: str, content: Content) -> Sums:
        """Ask all sites, and sum; raises as `sum_of_sites` does."""
        result = sum_of_sites(
            self._grid,
            self.sites or self._asked,
            message_type,
            to_records(content),
            min_nodes=self._min_nodes,
            timeout=self._timeout,
            required=self.sites,
        )
        self.sites = result.nodes
        self.history.append((message_type, result.metrics, result.refusals))
        return result.arrays


Fit = TypeVar("Fit")


def fit_on_whoever_stays(
    fit: Callable[[GridExchange], Fit], grid: Grid, node_ids: Iterable[int], *, min_nodes: int, timeout: float
) -> tuple[Fit, tuple[int, ...]]:
    """Run a fit; where a node is lost in the middle, run it again on those that are left.

    Args:
        fit: Given an exchange, computes something that is exact for one set of nodes.
        grid: Flower's grid.
        node_ids: The nodes to ask.
        min_nodes: So many must be left.
        timeout: Seconds to wait for replies.

    Returns:
        What `fit` gave, and the nodes that it is about.

    Raises:
        NotEnoughNodes: Fewer than `min_nodes` are left.
    """
    nodes = tuple(sorted(set(node_ids)))
    while True:
        exchange = GridExchange(grid, nodes, min_nodes=min_nodes, timeout=timeout)
        try:
            return fit(exchange), exchange.sites
        except SiteLost as lost:
            nodes = tuple(node for node in exchange.sites if node not in lost.node_ids)
            log.warning("%s The fit begins again on %d nodes.", lost, len(nodes))
            if len(nodes) < min_nodes:
                raise NotEnoughNodes(f"{len(nodes)} of the required {min_nodes} nodes are left. {lost}") from lost


def _arrays(reply: Message, record: str) -> dict[str, npt.NDArray[Any]]:
    arrays = reply.content.array_records.get(record)
    if arrays is None:
        raise UnusableReply(
            f"Node {reply.metadata.src_node_id} answered {reply.metadata.message_type} without the array "
            f"record {record!r}; return it from the ClientApp and list it in [tool.flame]."
        )
    return {name: array.numpy() for name, array in arrays.items()}


def _widen(array: npt.NDArray[Any], node: int, name: str, *, copy: bool) -> npt.NDArray[Any]:
    """In the type that sums are formed in."""
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64, copy=copy)
    if not np.issubdtype(array.dtype, np.floating):
        raise UnusableReply(f"Node {node} sends {name} as {array.dtype}; only integers and floating point add up.")
    if not np.isfinite(array).all():
        raise UnusableReply(f"Node {node} sends {name} with values that are not finite.")
    return array.astype(np.float64, copy=copy)
