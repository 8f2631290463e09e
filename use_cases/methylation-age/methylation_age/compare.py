"""`compare`: a simulated run beside pooled training, training at one DIZ alone, averaging, and published clocks.

Everything here happens outside the gate and needs the rows of all DIZ in one place. It is for simulations, where all
data are the user's own; the report says so at every figure and table it adds.

Writes ``compare.json`` and ``plots/`` into the run's folder and adds figures, tables and headlines to ``report.json``;
a second call replaces what the first one added.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from flame_strategies.output import write_atomically

from methylation_age import adaptation_check, baselines, horvath, packaged, plots
from methylation_age.adaptation_run import CONFIDENCES_FILE
from methylation_age.clock import ADAPTED, ELASTIC_NET, MLP, Clock, LinearClock, MlpClock, load_clocks
from methylation_age.cohort import Cohort, Store, load_store
from methylation_age.compare_report import OUTSIDE, NoiseRow, Row, headline, merge, tables
from methylation_age.elastic_net_run import ElasticNetSettings
from methylation_age.errors import InputError
from methylation_age.panel import load_panel
from methylation_age.prepare import STAMP, STORE

Float = npt.NDArray[np.float64]

FEDERATED, POOLED, LOCAL, PUBLISHED = "federated", "pooled", "one DIZ alone", "published clock"


def compare(run: Path, data: Path, say: Callable[[str], None] = lambda text: None) -> None:
    """Compare a run with its alternatives on the data it was simulated on.

    Args:
        run: The run's folder.
        data: The folder that `prepare` wrote.
        say: Told of every model as soon as it is measured, for a person who waits.

    Raises:
        InputError: One of the two is not what it should be.
    """
    clocks, metadata = load_clocks(run)
    stores = _stores(data, metadata["panel"])
    adapted = metadata["clocks"].get(ADAPTED, {}).get("training")
    measured = {site: _measured(store, adapted) for site, store in stores.items()}
    bench = _Bench(stores, measured, metadata["panel"], say)
    entries: list[dict[str, str]] = []
    for name, clock in clocks.items():
        bench.add(_FEDERATED_NAMES[name], FEDERATED, bench.ages(clock))
        ages = {site: clock.predict(cohort.betas[:, clock.columns]) for site, cohort in measured.items()}
        truth = {site: cohort.age for site, cohort in measured.items()}
        title = f"{_FEDERATED_NAMES[name]}: predicted and chronological age"
        entries.append(plots.predicted_by_age(run, f"predicted-{name}", title, truth, ages))
    equality, adaptation = None, None
    if adapted and isinstance(weighted := clocks[ADAPTED], LinearClock):
        adaptation = _adaptation(bench, run, weighted, adapted)
    if isinstance(linear := clocks.get(ELASTIC_NET), LinearClock):
        equality = _elastic_nets(bench, linear, metadata["clocks"][ELASTIC_NET]["training"])
    if isinstance(network := clocks.get(MLP), MlpClock):
        rounds = int(metadata["clocks"][MLP]["training"]["rounds"])
        pooled = baselines.pooled_mlp([store.train for store in stores.values()], network, rounds, seed=0)
        bench.add("MLP, pooled", POOLED, bench.ages(pooled))
    noise = _variants(bench, run)
    _published_clocks(bench)
    if kind := json.loads((data / STAMP).read_text(encoding="utf-8"))["source"].get("shift"):
        bench.notes.append(
            f"The target's shift is synthetic ({kind}, `methylation_age/shift.py`): real samples, some CpGs changed."
        )
    # Published clocks miss most of their CpGs in this panel: they are in the table, with that fact, not in the figure.
    drawn = [row for kind in (FEDERATED, POOLED, LOCAL) for row in bench.rows if row.kind == kind]
    kinds, errors = {row.model: row.kind for row in drawn}, {row.model: row.mae for row in drawn}
    entries.append(plots.models(run, errors, kinds))
    trained = np.concatenate([store.train.age for store in stores.values()])
    guess = float(np.abs(trained.mean() - bench.age).mean())
    summary = {
        "what": OUTSIDE,
        "guess_mae": guess,
        "models": [asdict(row) for row in bench.rows],
        "equality": equality,
        "adaptation": adaptation,
        "noise": [asdict(row) for row in noise],
        "notes": bench.notes,
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(run / "compare.json", text.encode() + b"\n")
    merge(
        run,
        entries,
        tables(bench.rows, guess, equality, adaptation, noise=noise),
        headline(equality),
        bench.notes,
    )
    gaps = []
    if equality:
        gaps.append(f"coefficients differ by at most {equality['largest_relative_coefficient_difference']:.1e}")
    if adaptation:
        gaps.append(f"confidences by {adaptation['largest_confidence_difference']:.1e}")
    say(f"Federated and pooled: {', '.join(gaps) or 'nothing to compare'} ({OUTSIDE}).")
    say("Added to compare.json and report.json; `flame demo` draws the page with them.")


_FEDERATED_NAMES = {
    ADAPTED: "Adapted elastic net, federated",
    ELASTIC_NET: "Elastic net, federated",
    MLP: "MLP, federated",
}


def _measured(store: Store, adapted: Mapping[str, Any] | None) -> Cohort:
    """What models are compared on: the test samples, or what the clock was adapted to as far as its age is known."""
    return store.test if adapted is None else store.target.of_tissue(adapted["tissue"]).with_age()


class _Bench:
    """The samples of all DIZ that models are measured on, and every model's row."""

    def __init__(
        self, stores: Mapping[str, Store], measured: Mapping[str, Cohort], panel: str, say: Callable[[str], None]
    ) -> None:
        self.stores = stores
        self.say = say
        self.cpgs = load_panel(panel).cpgs
        self.betas = np.concatenate([cohort.betas for cohort in measured.values()])
        self.age = np.concatenate([cohort.age for cohort in measured.values()])
        if len(self.age) < 3:
            raise InputError(
                "The DIZ have fewer than 3 samples to measure on; mark some in the column 'split' as test, or target "
                "for an adapted clock."
            )
        self.rows: list[Row] = []
        self.notes: list[str] = []

    def ages(self, clock: Clock) -> Float:
        return clock.predict(self.betas[:, clock.columns])

    def add(self, model: str, kind: str, ages: Float, note: str = "") -> None:
        error = np.abs(ages - self.age)
        r = float(np.corrcoef(ages, self.age)[0, 1])
        self.rows.append(Row(model, kind, float(error.mean()), float(np.median(error)), r, note))
        self.say(f"{model:<44}  MAE {error.mean():6.2f} years  r {r:.3f}")


def _elastic_nets(bench: _Bench, clock: LinearClock, training: Mapping[str, Any]) -> dict[str, Any]:
    """Pooled, averaged and local elastic nets; returns how far the federated one is from the pooled one."""
    penalty, l1_ratio = training["lambdas"][training["chosen"]], training["l1_ratio"]
    trains = [store.train for store in bench.stores.values()]
    rows = baselines.Standardised.of(trains)
    pooled, gap = baselines.pooled_elastic_net(rows, penalty, l1_ratio)
    pooled_ages = rows.ages(pooled, bench.betas)
    bench.add("Elastic net, pooled", POOLED, pooled_ages, f"{np.count_nonzero(pooled)} CpGs")
    federated = np.zeros_like(pooled)
    federated[clock.columns] = clock.coef
    federated *= rows.scale / rows.y_scale
    ends = np.cumsum([len(cohort) for cohort in trains])
    sites = [np.arange(end - len(cohort), end) for end, cohort in zip(ends, trains, strict=True)]
    averaged = baselines.averaged_elastic_net(rows, sites, penalty, l1_ratio)
    note = f"{np.count_nonzero(averaged)} CpGs, {np.count_nonzero(averaged == 0)} coefficients are zero"
    bench.add("Elastic net, averaged subgradient descent", FEDERATED, rows.ages(averaged, bench.betas), note)
    settings = ElasticNetSettings(l1_ratio, len(training["lambdas"]), _ratio(training), training["folds"])
    for site, store in bench.stores.items():
        coef, intercept, centre = baselines.local_elastic_net(store.train, settings)
        filled = np.where(np.isnan(bench.betas), centre, bench.betas)
        ages = horvath.inverse(filled @ coef + intercept)
        bench.add(f"Elastic net, {site}", LOCAL, ages, f"{len(store.train)} samples")
    largest = float(np.abs(pooled).max())
    return {
        "penalty": penalty,
        "largest_relative_coefficient_difference": float(np.abs(federated - pooled).max()) / largest,
        "same_support": bool(np.array_equal(federated != 0, pooled != 0)),
        "cpgs": int(np.count_nonzero(pooled)),
        "largest_prediction_difference_years": float(np.abs(bench.ages(clock) - pooled_ages).max()),
        "pooled_optimality_gap": gap,
    }


def _adaptation(bench: _Bench, run: Path, clock: LinearClock, training: Mapping[str, Any]) -> dict[str, Any]:
    """Beside pooled computation: confidences by direct Gaussian processes, optimality on the pooled rows, averaging."""
    trains = [store.train for store in bench.stores.values()]
    targets = [store.target.of_tissue(training["tissue"]) for store in bench.stores.values()]
    rows = baselines.Standardised.of(trains)
    found = pd.read_csv(run / CONFIDENCES_FILE)
    gap, checked = adaptation_check.confidence_gap(rows, targets, found["mean_confidence"].to_numpy())
    factors = found["weight"].to_numpy()
    penalty, l1_ratio = training["lambdas"][training["chosen"]], training["l1_ratio"]
    coefficients = np.zeros(rows.z.shape[1])
    coefficients[clock.columns] = clock.coef
    coefficients *= rows.scale / rows.y_scale
    ends = np.cumsum([len(cohort) for cohort in trains])
    sites = [np.arange(end - len(cohort), end) for end, cohort in zip(ends, trains, strict=True)]
    averaged = baselines.averaged_elastic_net(rows, sites, penalty, l1_ratio, factors=factors)
    note = f"weighted likewise; {np.count_nonzero(averaged == 0)} coefficients are zero"
    name = "Adapted elastic net, averaged subgradient descent"
    bench.add(name, FEDERATED, rows.ages(averaged, bench.betas), note)
    return {
        "largest_confidence_difference": gap,
        "cpgs_checked": checked,
        "optimality_gap_on_pooled_rows": adaptation_check.optimality_gap(
            rows, coefficients, penalty, l1_ratio, factors
        ),
    }


def _variants(bench: _Bench, run: Path) -> list[NoiseRow]:
    """The derived analyses that were run beside this one (`flame demo`), on the same test samples."""
    rows = []
    for folder in sorted(p.parent for p in run.glob("variants/*/model.json")):
        clocks, _ = load_clocks(folder)
        facts = json.loads((folder / "result.json").read_text(encoding="utf-8"))["run"]
        terms = facts["terms"]
        for name, clock in clocks.items():
            error = np.abs(bench.ages(clock) - bench.age)
            rows.append(
                NoiseRow(
                    _FEDERATED_NAMES[name],
                    str(facts["run_config"]["inputs"]),
                    str(terms["ground"]),
                    terms["epsilon_max"],
                    terms["noise_multiplier"],
                    terms["clip_norm"],
                    float(error.mean()),
                    float(np.median(error)),
                )
            )
    return rows


def _ratio(training: Mapping[str, Any]) -> float:
    return float(training["lambdas"][-1] / training["lambdas"][0])


def _published_clocks(bench: _Bench) -> None:
    """Published clocks, where the package with them is installed."""
    try:
        for key in ("cortical", "horvath"):
            clock = packaged.published_clock(key)
            ages, present = baselines.published_ages(clock, bench.cpgs, bench.betas)
            of = f"{present} of {len(clock.coefficients)} CpGs present"
            bench.add(clock.name, PUBLISHED, ages, of)
            bench.notes.append(
                f"{clock.name} ({clock.reference}): {of} in the panel, the others set to public mean betas, so this is "
                "not the clock's accuracy on complete arrays."
            )
    except InputError as error:
        bench.notes.append(f"No published clock: {error}")


def _stores(data: Path, panel: str) -> dict[str, Store]:
    try:
        nodes = json.loads((data / STAMP).read_text(encoding="utf-8"))["nodes"]
    except (OSError, ValueError, KeyError):
        raise InputError(f"{data} was not written by prepare; give the folder the run was simulated on.") from None
    return {node: load_store(data / node / STORE, panel) for node in nodes}
