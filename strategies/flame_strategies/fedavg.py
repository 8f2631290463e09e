"""Federated averaging over the nodes that approved (McMahan et al., AISTATS 2017, arXiv:1602.05629).

What differs from Flower's `FedAvg`, on whose public interface it stands:

* it asks the gates first, and trains and evaluates on approved nodes only;
* every wait ends: for nodes, for the gates' answers, for replies;
* refusals are kept, by round and node (`FlameFedAvg.refusals`), and shown in one table;
* a node whose refusal is final within a run (`FINAL_REFUSALS`) is not asked again;
* the mean is formed in ascending order of the node id and in float64, and has the dtype of the model that was
  sent: the same replies give the same bits in whatever order they arrive;
* a reply that does not fit the model counts as a failure of its node, not of the round;
* with fewer than `min_nodes` contributions a round of training ends the run with `NotEnoughNodes`. It does
  not go on with the old model: each further round would spend the other hospitals' budgets on a model they
  did not agree to. `FlameFedAvg.arrays` still holds the model of the last complete round. A round of
  evaluation only goes without a result.

A gate may replace ``num-examples`` by a constant; the mean is then unweighted, also where only some of the gates do.
Where gates add noise, the round's metrics say how much of it the mean carries (`noise_aware`). None is added here, and
a run that would add more, by one of Flower's DP strategies, is refused.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result

from flame_strategies.approval import Refusal, Roster, ask_gates, missing_answers, read_refusal, refusal_table
from flame_strategies.averaging import (
    Arrays,
    arrays_of,
    cast_back,
    find_flaw,
    metric_names,
    weight_of,
    weighted_mean,
)
from flame_strategies.errors import NotEnoughNodes
from flame_strategies.noise_aware import (
    FLOWER_CLIP_KEY,
    GateNoise,
    RoundNoise,
    equally_weighted,
    mean_noise,
    noise_flaw,
    precision_weights,
    read_noise,
    second_noise,
    signal_to_noise,
)

log = logging.getLogger("flwr.flame_strategies")  # below Flower's logger: lines go where Flower's go

MetricsMean = Callable[[list[RecordDict], str], MetricRecord]


class FlameFedAvg(FedAvg):
    """Federated averaging on approved nodes.

    Attributes:
        arrays: The model of the last complete round, None before the first.
        roster: The gates' answers, None before they were asked.
        refusals: Everything that nodes did not do, in order of time.
        said: What the gates said of the last round's replies, in ascending order of the node id.
        noise: The noise in each round's mean.
    """

    def __init__(
        self,
        *,
        min_nodes: int = 2,
        evaluate: bool = True,
        node_timeout: float = 60.0,
        timeout: float = 900.0,
        allow_ungated: bool = False,
        weighted_by_key: str = "num-examples",
        weigh_by_noise: bool = False,
        arrayrecord_key: str = "arrays",
        configrecord_key: str = "config",
        train_metrics_aggr_fn: MetricsMean | None = None,
        evaluate_metrics_aggr_fn: MetricsMean | None = None,
    ) -> None:
        """Set the terms of the run.

        Args:
            min_nodes: So many must approve, and contribute to every round.
            evaluate: Whether to evaluate on the nodes after each round.
            node_timeout: Seconds to wait for nodes to connect, and for the gates' answers.
            timeout: Seconds to wait for replies in each round, unless `start` says otherwise.
            allow_ungated: Also work with nodes that have no gate.
            weighted_by_key: Metric by which replies are weighted.
            weigh_by_noise: Weight the arrays by how little noise they carry instead, if that is known of all.
            arrayrecord_key: Name of the model's record in messages.
            configrecord_key: Name of the configuration's record in messages.
            train_metrics_aggr_fn: As in Flower's `FedAvg`.
            evaluate_metrics_aggr_fn: As in Flower's `FedAvg`.
        """
        if min_nodes < 1:
            raise ValueError(f"min_nodes is {min_nodes}; at least 1 node must contribute.")
        super().__init__(
            fraction_evaluate=1.0 if evaluate else 0.0,
            min_train_nodes=min_nodes,
            min_evaluate_nodes=min_nodes,
            min_available_nodes=min_nodes,
            weighted_by_key=weighted_by_key,
            arrayrecord_key=arrayrecord_key,
            configrecord_key=configrecord_key,
            train_metrics_aggr_fn=train_metrics_aggr_fn,
            evaluate_metrics_aggr_fn=evaluate_metrics_aggr_fn,
        )
        self.min_nodes = min_nodes
        self.evaluate = evaluate
        self.node_timeout = node_timeout
        self.timeout = timeout
        self.allow_ungated = allow_ungated
        self.weigh_by_noise = weigh_by_noise
        self.arrays: ArrayRecord | None = None
        self.roster: Roster | None = None
        self.refusals: list[Refusal] = []
        self.said: tuple[GateNoise | None, ...] = ()
        self.noise: dict[int, RoundNoise] = {}
        self._sent: tuple[int, ...] = ()
        self._runs_itself = False
        self._flower_clips = False

    def summary(self) -> None:
        """Log the terms of the run."""
        log.info("\t├──> Approved nodes only, at least %d in every round", self.min_nodes)
        log.info("\t└──> Waits: %g s for nodes and gates, %g s for replies", self.node_timeout, self.timeout)

    def start(  # noqa: PLR0917 -- Flower's signature
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float | None = None,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Ask the gates, then run the rounds; arguments as in Flower's `Strategy.start`.

        Raises:
            NotEnoughNodes: Fewer than `min_nodes` approved, or contributed to a round.
            ValueError: The gates' noise would get more noise on top.
        """
        self.timeout = self.timeout if timeout is None else timeout
        self.roster, self.refusals, self.arrays, self.noise = None, [], None, {}
        self._runs_itself = True
        try:
            return super().start(
                grid, initial_arrays, num_rounds, self.timeout, train_config, evaluate_config, evaluate_fn
            )
        finally:
            self._runs_itself = False
            if self.refusals:
                log.info("Refusals and failures, by round and node:\n%s", refusal_table(self.refusals))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One training message for each node that approved and has not refused for good since."""
        self.arrays = arrays
        self._flower_clips = FLOWER_CLIP_KEY in config
        nodes = self._nodes(grid)
        if len(nodes) < self.min_nodes:
            raise NotEnoughNodes(self._shortage(server_round, len(nodes)))
        return self._messages(server_round, nodes, arrays, config, MessageType.TRAIN)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord]:
        """The new model, and the mean of the nodes' metrics with what is known of the noise (`RoundNoise.metrics`).

        Raises:
            NotEnoughNodes: Fewer than `min_nodes` contributed.
            ValueError: The gates' noise would get more noise on top.
        """
        if self.arrays is None:
            raise ValueError("aggregate_train needs the model that configure_train sent; call that first.")
        model = {name: array.numpy() for name, array in self.arrays.items()}
        contents = self._contents(server_round, replies, MessageType.TRAIN, model)
        if len(contents) < self.min_nodes:
            raise NotEnoughNodes(self._shortage(server_round, len(contents)))
        if (why := second_noise(contents, wrapped=not self._runs_itself, flower_clips=self._flower_clips)) is not None:
            raise ValueError(why)
        self.said = tuple(read_noise(content) for content in contents)
        weights = self._weights(contents)
        mean = weighted_mean([arrays_of(content) for content in contents], weights)
        noise = mean_noise(self.said, weights)
        noise = replace(noise, signal_to_noise=signal_to_noise(model, mean, noise.noise_std))
        self.noise[server_round] = noise
        moved = self.server_step(model, mean)
        self.arrays = ArrayRecord({name: Array(cast_back(moved[name], old.dtype)) for name, old in model.items()})
        metrics = self.train_metrics_aggr_fn(contents, self.weighted_by_key)
        return self.arrays, MetricRecord({**metrics, **noise.metrics()})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One evaluation message for each node, as in `configure_train`."""
        if not self.evaluate:
            return []
        return self._messages(server_round, self._nodes(grid), arrays, config, MessageType.EVALUATE)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The mean of the nodes' metrics; None if fewer than `min_nodes` evaluated."""
        if not self.evaluate:
            return None
        contents = self._contents(server_round, replies, MessageType.EVALUATE, model=None)
        if len(contents) < self.min_nodes:
            log.warning("Round %d: %d of %d nodes evaluated; no result", server_round, len(contents), self.min_nodes)
            return None
        return self.evaluate_metrics_aggr_fn(contents, self.weighted_by_key)

    def server_step(self, model: Arrays, mean: Arrays) -> Arrays:
        """What becomes of the model (as sent) and the nodes' mean: here, the mean itself."""
        del model
        return mean

    def _nodes(self, grid: Grid) -> tuple[int, ...]:
        if self.roster is None:
            self.roster = ask_gates(
                grid, min_nodes=self.min_nodes, timeout=self.node_timeout, allow_ungated=self.allow_ungated
            )
            self.refusals += self.roster.refusals.values()
            log.info("Approvals:\n%s", self.roster)
            self.roster.require(self.min_nodes)
        gone = {refusal.node_id for refusal in self.refusals if refusal.is_final}
        return tuple(node for node in self.roster.approved if node not in gone)

    def _messages(
        self, server_round: int, nodes: tuple[int, ...], arrays: ArrayRecord, config: ConfigRecord, leg: str
    ) -> list[Message]:
        self._sent = nodes
        own = ConfigRecord({**config, "server-round": server_round})
        content = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: own})
        group = str(server_round)
        return [Message(content, message_type=leg, dst_node_id=node, group_id=group) for node in nodes]

    def _contents(
        self, server_round: int, replies: Iterable[Message], leg: str, model: Arrays | None
    ) -> list[RecordDict]:
        """Usable replies in ascending order of the node id; the others become refusals."""
        by_node = {reply.metadata.src_node_id: reply for reply in replies}
        failed = missing_answers(self._sent, by_node, leg, server_round=server_round)
        contents: list[RecordDict] = []
        for node, reply in sorted(by_node.items()):
            refusal = read_refusal(reply, server_round=server_round)
            if refusal is None and (flaw := self._flaw(reply.content, contents, model)) is not None:
                refusal = Refusal(node, 0, "UNUSABLE_REPLY", flaw, leg, server_round)
            if refusal is None:
                if (odd := noise_flaw(reply.content)) is not None:
                    log.warning("Round %d: the noise of node %d is unknown: %s", server_round, node, odd)
                contents.append(reply.content)
            else:
                failed.append(refusal)
        self.refusals += sorted(failed)
        return equally_weighted(contents, self.weighted_by_key)

    def _weights(self, contents: list[RecordDict]) -> list[float]:
        by_noise = precision_weights(self.said) if self.weigh_by_noise else None
        if self.weigh_by_noise and by_noise is None:
            log.warning("The noise is not known of all replies: they are weighted by %s", self.weighted_by_key)
        return by_noise or [weight_of(content, self.weighted_by_key) for content in contents]

    def _flaw(self, content: RecordDict, before: list[RecordDict], model: Arrays | None) -> str | None:
        flaw = find_flaw(content, self.weighted_by_key, model)
        if flaw is None and before and metric_names(content) != metric_names(before[0]):
            return "its metrics have other names than those of the nodes before it"
        return flaw

    def _shortage(self, server_round: int, contributed: int) -> str:
        table = refusal_table(self.refusals) if self.refusals else "  no refusals"
        return (
            f"Round {server_round}: {contributed} of the required {self.min_nodes} nodes contribute. Ask their "
            f"stewards, or lower min_nodes.\n{table}"
        )
