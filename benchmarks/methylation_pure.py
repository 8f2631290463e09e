"""The computation that the methylation demonstration contains, in one process without Flower, gate or sandbox.

The same fits on the same files: the cross-validated elastic net from sums over five sites, the MLP averaged over twelve
rounds, and the evaluation of both. Prints the test error, by which the benchmark sees that it was the same work.

    python benchmarks/methylation_pure.py DATA
"""

import sys
from pathlib import Path

import numpy as np
import torch
from flame_strategies.sums import Content, Sums, add_up
from methylation_age import evaluation, mlp, mlp_run, sums
from methylation_age.clock import Clock
from methylation_age.cohort import Store, load_store
from methylation_age.elastic_net_run import ElasticNetSettings, run_elastic_net

PANEL, ROUNDS, INPUTS = "gse74193", 12, 256


class Sites:
    """Answers of all sites, summed; each site's arithmetic is the ClientApp's own."""

    def __init__(self, stores: list[Store]) -> None:
        self._stores = stores
        self._folds: dict[tuple[int, bytes, int], sums.Folds] = {}

    def __call__(self, kind: str, content: Content) -> Sums:
        return add_up({number: self._answer(number, kind, content) for number in range(len(self._stores))})

    def _answer(self, number: int, kind: str, content: Content) -> Sums:
        train = self._stores[number].train
        if kind == "query.moments":
            return sums.moments(train)
        reference, folds = sums.Reference.from_arrays(content["reference"]), content["folds"]["folds"]
        key = (number, reference.digest(), folds)
        if key not in self._folds:
            self._folds = {k: v for k, v in self._folds.items() if k[0] != number}
            self._folds[key] = sums.split_folds(train, reference, folds)
        if kind == "query.target":
            return sums.target(self._folds[key])
        return sums.columns(self._folds[key], content["reference"]["columns"])


def average_mlp(sites: Sites, stores: list[Store]) -> Clock:
    """Federated averaging of the network, in plain loops."""
    inputs, recipe = mlp_run.federated_inputs(sites, INPUTS), mlp.Recipe()
    reference = sums.Reference(inputs.centre, inputs.scale, inputs.y_centre, inputs.y_scale)
    torch.manual_seed(0)
    weights = mlp.initial_weights(INPUTS, recipe, 0)
    for _ in range(ROUNDS):
        updates = []
        for store in stores:
            z = reference.standardise(store.train.betas[:, inputs.columns])
            y = (store.train.target - reference.y_centre) / reference.y_scale
            updates.append((len(store.train), mlp.train(weights, z, y, recipe)[0]))
        total = sum(n for n, _ in updates)
        weights = {k: sum((n / total * w[k] for n, w in updates), np.zeros(1)).astype(np.float32) for k in weights}
        evaluate(inputs.clock(weights, recipe), stores)
    return inputs.clock(weights, recipe)


def evaluate(clock: Clock, stores: list[Store]) -> float:
    """Mean absolute error over the sites' test samples, from sums."""
    answers = {}
    for number, store in enumerate(stores):
        answers[number] = evaluation.evaluate(store.test.age, clock.predict(store.test.betas[:, clock.columns]))
    return evaluation.accuracy(add_up(answers)).mae


def main(data: Path) -> None:
    """Everything once."""
    stores = [load_store(folder / "methylation", PANEL) for folder in sorted(data.glob("DIZ-*"))]
    sites = Sites(stores)
    fit = run_elastic_net(sites, ElasticNetSettings(l1_ratio=0.5, lambda_count=25, lambda_min_ratio=0.01, folds=5))
    network = average_mlp(sites, stores)
    print(f"elastic net MAE {evaluate(fit.clock, stores):.4f}  MLP MAE {evaluate(network, stores):.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
