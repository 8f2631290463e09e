"""Federated averaging over the nodes that approved (McMahan et al., AISTATS 2017, arXiv:1602.05629).

What differs from Flower's `FedAvg`, on whose public interface it stands:

* it asks the gates first, and trains and evaluates on approved nodes only;
* every wait ends: for nodes, for the gates' answers, for replies;
* refusals are kept, by round and node (`FlameFedAvg.refusals`), and shown in one table;
* a node whose refusal is final within a run (`FINAL_REFUSALS`) is not asked again; one that failed, was silent or was
  away is asked again in the next round, and one that comes late is asked for its approval (`attendance`);
* how many nodes must contribute and how long they are waited for follows from the terms, where the gates tell them
  (`deadlines`); a message that nobody would read is not sent (`message_size`);
* after every round there is a checkpoint from which another process goes on, to the same bits (`checkpoint`), and
  the log says how long the rest will take; a fit may end early (`early_stopping`);
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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, astuple, replace
from typing import Any

import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from flame_strategies.approval import Refusal, refusal_table
from flame_strategies.averaging import (
    Arrays,
    arrays_of,
    cast_back,
    find_flaw,
    metric_names,
    weight_of,
    weighted_mean,
)
from flame_strategies.early_stopping import EarlyStopping
from flame_strategies.errors import MessageTooLarge, NotEnoughNodes
from flame_strategies.history import FlameResult
from flame_strategies.message_size import MESSAGE_BYTES, size_flaw
from flame_strategies.noise_aware import (
    FLOWER_CLIP_KEY,
    GateNoise,
    RoundNoise,
    mean_noise,
    precision_weights,
    read_noise,
    second_noise,
    signal_to_noise,
)
from flame_strategies.participants import Participants
from flame_strategies.replies import Sorted, sort_replies
from flame_strategies.rounds import Fit, Plan
from flame_strategies.secure_grid import secure

log = logging.getLogger("flwr.flame_strategies")  # below Flower's logger: lines go where Flower's go

MetricsMean = Callable[[list[RecordDict], str], MetricRecord]


class FlameFedAvg(Participants, FedAvg):
    """Federated averaging on approved nodes.

    Attributes:
        arrays: The model of the last complete round, None before the first.
        roster: The gates' answers, None before they were asked.
        refusals: Everything that nodes did not do, in order of time.
        said: What the gates said of the last round's replies, in ascending order of the node id.
        noise: The noise in each round's mean.
        min_nodes: So many nodes must contribute; from the terms, once the gates were asked, if it was not given.
        evaluations: Each node's own evaluation metrics by round, for display; none under secure aggregation.
    """

    def __init__(
        self,
        *,
        min_nodes: int | None = None,
        evaluate: bool = True,
        node_timeout: float = 60.0,
        timeout: float | None = None,
        early_stopping: EarlyStopping | None = None,
        message_bytes: int = MESSAGE_BYTES,
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
            min_nodes: So many must approve, and contribute to every round. None: as many as the terms'
                ``federation.min_sites`` say, 2 if the gates do not tell.
            evaluate: Whether to evaluate on the nodes after each round.
            node_timeout: Seconds to wait for nodes to connect, and for the gates' answers.
            timeout: Seconds to wait for replies in each round, unless `start` says otherwise. None: as long as the
                terms give a node for one message and the model needs to travel; 900 if the gates do not tell.
            early_stopping: When the fit ends before its last round; its result then has the best model.
            message_bytes: What the nodes read; see ``max_message_bytes`` in their node.toml.
            allow_ungated: Also work with nodes that have no gate.
            weighted_by_key: Metric by which replies are weighted.
            weigh_by_noise: Weight the arrays by how little noise they carry instead, if that is known of all.
            arrayrecord_key: Name of the model's record in messages.
            configrecord_key: Name of the configuration's record in messages.
            train_metrics_aggr_fn: As in Flower's `FedAvg`.
            evaluate_metrics_aggr_fn: As in Flower's `FedAvg`.
        """
        Participants.__init__(
            self, min_nodes=min_nodes, node_timeout=node_timeout, timeout=timeout, allow_ungated=allow_ungated
        )
        FedAvg.__init__(
            self,
            fraction_evaluate=1.0 if evaluate else 0.0,
            min_train_nodes=self.min_nodes,
            min_evaluate_nodes=self.min_nodes,
            min_available_nodes=self.min_nodes,
            weighted_by_key=weighted_by_key,
            arrayrecord_key=arrayrecord_key,
            configrecord_key=configrecord_key,
            train_metrics_aggr_fn=train_metrics_aggr_fn,
            evaluate_metrics_aggr_fn=evaluate_metrics_aggr_fn,
        )
        self.evaluate = evaluate
        self.early_stopping = early_stopping
        self.message_bytes = message_bytes
        self.weigh_by_noise = weigh_by_noise
        self.arrays: ArrayRecord | None = None
        self.said: tuple[GateNoise | None, ...] = ()
        self.noise: dict[int, RoundNoise] = {}
        self.evaluations: dict[int, dict[int, MetricRecord]] = {}
        self._runs_itself = False
        self._flower_clips = False

    def summary(self) -> None:
        """Log the terms of the run."""
        least, waits = self.waits()
        log.info("\t├──> Approved nodes only, %s in every round", least)
        log.info("\t└──> Waits: %s", waits)

    def start(  # noqa: PLR0917 -- Flower's signature
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float | None = None,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> FlameResult:
        """Ask the gates, then run the rounds that no checkpoint has; arguments as in Flower's `Strategy.start`.

        Raises:
            NotEnoughNodes: Fewer than `min_nodes` approved, or contributed to a round.
            MessageTooLarge: Nobody would read the model, or let one of its size out.
            CheckpointError: The run's checkpoint is of another fit.
            ValueError: The gates' noise would get more noise on top.
        """
        self.timeout = self.timeout if timeout is None else timeout
        self.begin(num_rounds)
        self.arrays, self.noise, self.evaluations = None, {}, {}
        plan = Plan(
            num_rounds, train_config or ConfigRecord(), evaluate_config or ConfigRecord(), evaluate_fn,
            self.early_stopping,
        )  # fmt: skip
        fit = Fit(self, secure(grid), plan, initial_arrays)
        log.info("Starting %s: %d rounds", type(self).__name__, num_rounds)
        self.summary()
        self._runs_itself = True
        try:
            fit.take_up()
            return fit.run()
        finally:
            self._runs_itself, self._rounds = False, 0
            if self.refusals:
                log.info("Refusals and failures, by round and node:\n%s", refusal_table(self.refusals))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One training message for each node that approved and has not refused for good since."""
        self.arrays = arrays
        self._flower_clips = FLOWER_CLIP_KEY in config
        nodes = self._nodes(grid, server_round)
        if len(nodes) < self.min_nodes:
            raise NotEnoughNodes(self._shortage(server_round, len(nodes)))
        self._require_room(grid, server_round, nodes, arrays)
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
        came = self._sorted(server_round, replies, MessageType.TRAIN, model)
        contents = came.contents
        if came.sites < self.min_nodes or not contents:
            raise NotEnoughNodes(self._shortage(server_round, came.sites))
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
        came = self._sorted(server_round, replies, MessageType.EVALUATE, model=None)
        if came.sites < self.min_nodes or not came.contents:
            log.warning("Round %d: %d of %d nodes evaluated; no result", server_round, came.sites, self.min_nodes)
            return None
        if came.is_masked:
            log.info("Round %d: masked by secure aggregation, there is only the mean over the sites", server_round)
        else:
            self.evaluations[server_round] = {
                node: record
                for node, content in zip(came.nodes, came.contents, strict=True)
                for record in content.metric_records.values()
            }
        return self.evaluate_metrics_aggr_fn(came.contents, self.weighted_by_key)

    def server_step(self, model: Arrays, mean: Arrays) -> Arrays:
        """What becomes of the model (as sent) and the nodes' mean: here, the mean itself."""
        del model
        return mean

    def save_state(self) -> dict[str, npt.NDArray[Any]]:
        """What the next round needs beside the model, by name: a subclass's moments, say. Here nothing.

        Called after each complete round; the arrays are copied into its checkpoint. What a subclass keeps must not
        depend on when it is asked: a run resumed from these arrays has the bits of one that was never interrupted.
        """
        return {}

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take back what `save_state` gave.

        Args:
            state: The arrays by name, of the dtypes and shapes that `save_state` gave.

        Raises:
            ValueError: They are not this strategy's.
        """
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, the checkpoint holds {', '.join(sorted(state))}.")

    def save_facts(self) -> dict[str, Any]:
        """What this strategy knows beside its arrays, as JSON values, for its checkpoint."""
        return {
            "refusals": [list(astuple(refusal)) for refusal in self.refusals],
            "noise": {str(number): asdict(noise) for number, noise in self.noise.items()},
            "approved": [] if self.roster is None else list(self.roster.approved),
            "patience": 0.0 if self.arrays is None else self.reply_timeout(self.arrays),
        }

    def load_facts(self, facts: Mapping[str, Any]) -> None:
        """Take back what `save_facts` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: It is none.
        """
        refusals = (Refusal(*refusal) for refusal in facts["refusals"])
        self.return_to(refusals, map(int, facts["approved"]), float(facts["patience"]))
        self.noise = {
            int(number): RoundNoise(**{**noise, "shares": tuple(noise["shares"])})
            for number, noise in facts["noise"].items()
        }

    def _messages(
        self, server_round: int, nodes: tuple[int, ...], arrays: ArrayRecord, config: ConfigRecord, leg: str
    ) -> list[Message]:
        self._sent = nodes
        own = ConfigRecord({**config, "server-round": server_round})
        content = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: own})
        if (flaw := size_flaw(content, self.message_bytes)) is not None:
            raise MessageTooLarge(flaw)
        group = str(server_round)
        return [Message(content, message_type=leg, dst_node_id=node, group_id=group) for node in nodes]

    def _sorted(self, server_round: int, replies: Iterable[Message], leg: str, model: Arrays | None) -> Sorted:
        """Usable replies in ascending order of the node id; the others become refusals."""
        came = sort_replies(
            replies, self._sent, leg, server_round, self.weighted_by_key,
            lambda content, before: self._flaw(content, before, model),
        )  # fmt: skip
        self.refusals += came.refusals
        return came

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
