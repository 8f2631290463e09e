"""The hub's side of the protocol: keys, encoded rows, and predictions that pass it unread.

All DIZ that gave a key must answer every later message: Gram matrices of fewer are those of another fit. A DIZ that is
lost ends the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.approval import missing_answers, read_refusal, refusal_table
from flame_strategies.errors import NotEnoughNodes, UnusableReply
from flame_strategies.sums import Content, to_records
from flwr.app import Message
from flwr.serverapp import Grid

Float = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[Any]]

ALIKE = 1e-9
"""Encoded probes of length 1 may differ by so much; wrong seeds differ by about 1, rounding by about 1e-15."""


@dataclass
class Federation:
    """The DIZ of one run, as the hub sees them.

    Attributes:
        grid: Flower's grid.
        nodes: The DIZ, ascending.
        timeout: Seconds to wait for answers.
        train: Encoded training rows by node, (n_k, p + 1).
        test: Encoded test rows by node.
        fingerprint: Of all keys, as the DIZ answered it.
        probe_difference: The largest between two DIZ's encoded probes.
    """

    grid: Grid
    nodes: tuple[int, ...]
    timeout: float
    train: dict[int, Float] = field(default_factory=dict)
    test: dict[int, Float] = field(default_factory=dict)
    fingerprint: bytes = b""
    probe_difference: float = 0.0
    _keys: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 32), dtype=np.uint8))

    def agree_and_encode(self) -> None:
        """Pass keys and sealed seeds on, and collect the encoded rows.

        Raises:
            NotEnoughNodes: A DIZ refused or is lost.
            UnusableReply: The DIZ do not encode alike.
        """
        keys = self._ask("query.key", {node: {} for node in self.nodes}, "keys")
        self._keys = np.stack([keys[node]["public"] for node in self.nodes])
        leader = self.nodes[0]
        sealed = self._ask("query.seed", {leader: self._content()}, "seeds")[leader]["sealed"]
        content = self._content(arrays={"sealed": sealed}, leader=str(leader))
        encoded = self._ask("query.encode", dict.fromkeys(self.nodes, content), "encoded")
        probes = np.concatenate([encoded[node]["probe"] for node in self.nodes])
        self.probe_difference = float(np.abs(probes - probes[0]).max())
        prints = {encoded[node]["fingerprint"].tobytes() for node in self.nodes}
        if len(prints) > 1 or not self.probe_difference <= ALIKE or abs(np.linalg.norm(probes[0]) - 1) > ALIKE:
            raise UnusableReply(
                f"The DIZ do not encode alike: {len(prints)} fingerprints, encoded probes differ by up to "
                f"{self.probe_difference:.1e}. Inner products between their rows mean nothing; start the run again."
            )
        self.fingerprint = prints.pop()
        self.train = {node: encoded[node]["train"] for node in self.nodes}
        self.test = {node: encoded[node]["test"] for node in self.nodes}

    def rows(self, split: str) -> Float:
        """All encoded rows of a split, in the order of the nodes."""
        return np.concatenate([getattr(self, split)[node] for node in self.nodes])

    def evaluate(self, smoother: Float, split: str) -> dict[int, Arrays]:
        """Let every DIZ predict its samples of a split: the sums of their errors, by node.

        Args:
            smoother: (targets, training rows), both in the order of `rows`.
            split: Whose rows the targets are, "train" or "test".
        """
        targets = [len(getattr(self, split)[node]) for node in self.nodes]
        rows, columns = _places(targets), _places([len(self.train[node]) for node in self.nodes])
        content = self._content(targets=[str(count) for count in targets])
        asked = {
            node: {**content, "smoother": {"columns": smoother[:, place]}}
            for node, place in zip(self.nodes, columns, strict=True)
        }
        shares = self._ask("query.share", asked, "shares")
        total = np.zeros(sum(targets), dtype=np.uint64)
        for node in self.nodes:  # modulo 2^64: each DIZ's own places are zero in its answer
            total += shares[node]["hidden"]
        final = {}
        for node, row, column in zip(self.nodes, rows, columns, strict=True):
            salts = np.stack([shares[other]["salt"] for other in self.nodes if other != node])
            prediction = {"hidden": total[row], "own": smoother[row, column], "salts": salts}
            final[node] = {**self._content(split=split), "prediction": prediction}
        return self._ask("evaluate", final, "evaluation")

    def _content(self, arrays: Arrays | None = None, **config: Any) -> dict[str, dict[str, Any]]:
        """Who takes part with which keys, in every message, so that each DIZ can check it."""
        nodes = [str(node) for node in self.nodes]
        return {"circle": {"keys": self._keys, **(arrays or {})}, "config": {"nodes": nodes, **config}}

    def _ask(self, kind: str, contents: Mapping[int, Content], record: str) -> dict[int, Arrays]:
        messages = [
            Message(to_records(content), message_type=kind, dst_node_id=node) for node, content in contents.items()
        ]
        replies = {r.metadata.src_node_id: r for r in self.grid.send_and_receive(messages, timeout=self.timeout)}
        refusals = [refusal for reply in replies.values() if (refusal := read_refusal(reply)) is not None]
        refusals += missing_answers(tuple(contents), replies, kind)
        if refusals:
            raise NotEnoughNodes(
                f"{len(refusals)} of {len(contents)} DIZ gave no answer to {kind}, which needs all of them. Start the "
                f"run again without them, or look into their logs.\n{refusal_table(refusals)}"
            )
        found: dict[int, Arrays] = {}
        for node in contents:
            arrays = {name: array.numpy() for name, array in replies[node].content.array_records[record].items()}
            if not all(np.isfinite(array).all() for array in arrays.values()):
                raise UnusableReply(f"Node {node} answered {kind} with values that are not finite.")
            found[node] = arrays
        return found


def _places(counts: list[int]) -> list[slice]:
    ends = np.cumsum(counts)
    return [slice(int(end) - count, int(end)) for end, count in zip(ends, counts, strict=True)]
