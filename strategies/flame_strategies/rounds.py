"""The rounds of a fit: as Flower's `Strategy.start`, with checkpoints, early stopping, and how long it will take."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid

from flame_strategies.averaging import Arrays
from flame_strategies.checkpoint import Checkpoint, next_fit_folder, plan_digest, read_checkpoint, write_checkpoint
from flame_strategies.early_stopping import EarlyStopping, StopState
from flame_strategies.errors import CheckpointError
from flame_strategies.history import FlameResult, history_as_json, history_from_json, write_metrics
from flame_strategies.progress import Pace, round_line, tell

if TYPE_CHECKING:
    from flame_strategies.fedavg import FlameFedAvg

log = logging.getLogger("flwr.flame_strategies")

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


@dataclass(frozen=True)
class Plan:
    """What a fit is asked to do: the arguments of `start`."""

    rounds: int
    train_config: ConfigRecord
    evaluate_config: ConfigRecord
    evaluate_fn: EvaluateFn | None = None
    early_stopping: EarlyStopping | None = None

    def digest(self, strategy: str, model: Arrays) -> str:
        """See `plan_digest`."""
        configs = {"train": self.train_config, "evaluate": self.evaluate_config}
        return plan_digest(strategy, self.rounds, model, configs)


@dataclass
class Fit:
    """One fit, begun or taken up again.

    Attributes:
        strategy: Who configures and aggregates.
        grid: Reaches the nodes.
        plan: What it is asked to do.
        result: What it has shown so far.
        arrays: The model of the last complete round.
    """

    strategy: "FlameFedAvg"
    grid: Grid
    plan: Plan
    arrays: ArrayRecord
    result: FlameResult = field(default_factory=FlameResult)
    done: int = 0
    _stop: StopState = field(default_factory=StopState)
    _best: ArrayRecord | None = None
    _folder: Path | None = None
    _digest: str = ""
    _warned: bool = False

    def take_up(self) -> None:
        """Go on from the newest checkpoint, if there is one.

        Raises:
            CheckpointError: There is one that does not fit this fit.
        """
        self._folder = next_fit_folder()
        if self._folder is None:
            return
        self._digest = self.plan.digest(type(self.strategy).__qualname__, arrays_in(self.arrays))
        found = read_checkpoint(self._folder, self._digest)
        if found is None:
            return
        try:
            self.strategy.load_state(found.state)
            self.strategy.load_facts(found.facts["strategy"])
            self.result = history_from_json(found.facts["history"])
            self._stop = StopState(**found.facts["stop"])
            self.result.stopped_round = int(found.facts["stopped_round"])
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise CheckpointError(
                f"The checkpoint in {self._folder} does not fit {type(self.strategy).__qualname__}: {err}."
            ) from err
        self.arrays, self.done = record_of(found.model), found.server_round
        self._best = None if found.best is None else record_of(found.best)
        self.result.resumed_round = found.server_round
        log.info("Resumed from the checkpoint of round %d of %d", self.done, self.plan.rounds)
        self._tell(self.done, 0.0, 0.0)

    def run(self) -> FlameResult:
        """Do the rounds that are left.

        Raises:
            StrategyError, ValueError: As the strategy's steps.
        """
        pace = Pace()
        if not self.done:
            self._evaluate_here(0)
        for number in range(self.done + 1, self.plan.rounds + 1):
            if self.result.stopped_round:
                break
            begun = time.monotonic()
            log.info("")
            log.info("[ROUND %d/%d]", number, self.plan.rounds)
            self._train(number)
            self._evaluate(number)
            self._evaluate_here(number)
            self._look_whether_to_stop(number)
            self.done = number
            self._keep(number)
            seconds = time.monotonic() - begun
            pace.add(seconds)
            left = pace.seconds_left(self._rounds_left(number))
            log.info(round_line(number, self.plan.rounds, seconds, left))
            self._tell(number, seconds, left)
        return self._ended()

    def _train(self, number: int) -> None:
        messages = list(self.strategy.configure_train(number, self.arrays, self.plan.train_config, self.grid))
        timeout = self.strategy.reply_timeout(self.arrays, self._turns(number))
        replies = self.grid.send_and_receive(messages, timeout=timeout)
        self.arrays, metrics = self.strategy.aggregate_train(number, replies)
        self.result.train_metrics_clientapp[number] = metrics
        log.info("\t└──> Training: %s", metrics)

    def _evaluate(self, number: int) -> None:
        messages = list(self.strategy.configure_evaluate(number, self.arrays, self.plan.evaluate_config, self.grid))
        timeout = self.strategy.reply_timeout(self.arrays)
        replies = self.grid.send_and_receive(messages, timeout=timeout) if messages else []
        metrics = self.strategy.aggregate_evaluate(number, replies)
        if metrics is not None:
            self.result.evaluate_metrics_clientapp[number] = metrics
            log.info("\t└──> Evaluation: %s", metrics)
        if sites := self.strategy.evaluations.get(number):
            self.result.evaluate_metrics_by_site[number] = sites

    def _evaluate_here(self, number: int) -> None:
        if self.plan.evaluate_fn is None:
            return
        metrics = self.plan.evaluate_fn(number, self.arrays)
        if metrics is not None:
            self.result.evaluate_metrics_serverapp[number] = metrics
            log.info("\t└──> The ServerApp's own evaluation: %s", metrics)

    def _look_whether_to_stop(self, number: int) -> None:
        rule, result = self.plan.early_stopping, self.result
        if rule is None:
            return
        source = {
            "evaluate": result.evaluate_metrics_clientapp,
            "train": result.train_metrics_clientapp,
            "server": result.evaluate_metrics_serverapp,
        }[rule.source]
        self._stop = rule.after(self._stop, number, rule.value_in(source.get(number)))
        if self._stop.best_round == number:
            self._best = self.arrays
        if rule.is_over(self._stop) and number < self.plan.rounds:
            result.stopped_round = number
            log.info(
                "%s has not become better for %d rounds: the fit ends; its best model is that of round %d",
                rule.metric, self._stop.waited, self._stop.best_round,
            )  # fmt: skip

    def _keep(self, number: int) -> None:
        """Everything that the next round needs, on disk. A fit goes on without, and says so once."""
        if out := os.environ.get("FLAME_OUT"):
            try:
                write_metrics(Path(out), self.result)
            except OSError as err:
                log.warning("Round %d: the metrics could not be written: %s", number, err)
        if self._folder is None:
            return
        facts = {
            "strategy": self.strategy.save_facts(),
            "history": history_as_json(self.result),
            "stop": asdict(self._stop),
            "stopped_round": self.result.stopped_round,
        }
        best = None if self._best is None else arrays_in(self._best)
        state = self.strategy.save_state()
        try:
            write_checkpoint(self._folder, Checkpoint(self._digest, number, arrays_in(self.arrays), state, best, facts))
        except CheckpointError as err:
            if not self._warned:
                log.warning("%s The fit goes on; a restart would take it up from an earlier round.", err)
            self._warned = True

    def _tell(self, number: int, seconds: float, left: float) -> None:
        tell(
            self.grid,
            {
                "round": number,
                "rounds": self.plan.rounds,
                "seconds": round(seconds, 3),
                "seconds_left": round(left, 1),
                "resumed_round": self.result.resumed_round,
            },
        )

    def _ended(self) -> FlameResult:
        self.result.arrays = self.arrays
        if self.plan.early_stopping is not None and self._best is not None:
            self.result.arrays, self.result.best_round = self._best, self._stop.best_round
        log.info("")
        log.info("Results:")
        for line in str(self.result).splitlines():
            log.info("\t%s", line)
        return self.result

    def _rounds_left(self, number: int) -> int:
        return 0 if self.result.stopped_round else self.plan.rounds - number

    def _turns(self, number: int) -> int:
        """After a restart a node may still answer the message that nobody waits for any more."""
        return 2 if self.result.resumed_round and number == self.result.resumed_round + 1 else 1


def arrays_in(record: ArrayRecord) -> dict[str, Any]:
    """The arrays of a record by name, in its order."""
    return {name: array.numpy() for name, array in record.items()}


def record_of(arrays: Arrays) -> ArrayRecord:
    """A record of arrays, in their order."""
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})
