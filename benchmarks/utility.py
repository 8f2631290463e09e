"""What patient-level noise leaves of two small models: one clock, one logistic regression, over epsilon.

    python benchmarks/utility.py [--studies clock,breast-cancer,synthetic] [--seeds 5] [--document]

Each figure is from a whole simulated run behind real gates (`flame simulate`, five virtual DIZ, in-process sandboxes,
noise from the operating system), with the model measured on patients that no DIZ was given. A seed draws who is held
out, how patients are dealt to the DIZ and into blocks; noise is fresh in every run.

| way | ground, unit | what leaves a DIZ |
|---|---|---|
| no noise | none | the same sums, or a fit of each DIZ's own |
| sums | vetted, patient | noised sums over patients |
| DP-SGD | vetted, patient | a model after noised steps |
| k blocks | enforced, patient | the noised mean of k fits, each on its own patients |
| site | enforced, site | a noised fit |

Everything that could be tuned (which columns, constants, clip norms, penalties, steps) was fixed beforehand, from
public knowledge and formulas: see `docs/utility.md` for what that means in each case.

Writes `benchmarks/utility.json`; `--document` also the tables in `docs/utility.md` and the plots in `docs/images/`.
"""

import argparse
import json
import logging
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import tomli_w  # noqa: E402

from flame_fl.contract.terms import Privacy  # noqa: E402
from flame_fl.contract.vetted_terms import DpSgd, Sums, output_arrays  # noqa: E402
from flame_fl.gate.claims import event_of  # noqa: E402
from flame_fl.gate.cohort_check import EVENT  # noqa: E402
from flame_fl.privacy.accounting import Events  # noqa: E402
from flame_fl.privacy.filters import filter_for, multiplier_for  # noqa: E402
from flame_fl.report import plots  # noqa: E402
from flame_fl.simulation.derive import SLOT_SECONDS  # noqa: E402

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).parent
ROOT = HERE.parent
CLOCK, GLM = HERE / "apps" / "small-clock", HERE / "apps" / "small-glm"
Floats = npt.NDArray[np.float64]
NODES, DELTA, EPSILONS = 5, 1e-5, (1.0, 3.0, 8.0)
_TRIES = 6
STEPS = {"sample_rate": 0.5, "steps": 4}


@dataclass(frozen=True)
class Way:
    """One line of a table: how a model comes about, at one epsilon. `work` is that of a vetted claim."""

    name: str
    epsilon: float | None
    method: str
    kind: str
    rounds: int = 1
    privacy: Privacy = field(default_factory=Privacy)
    work: DpSgd | Sums | None = None

    @property
    def noised(self) -> Privacy:
        """The claim with the smallest noise that lets all rounds, and the noised count of patients, fit."""
        if self.epsilon is None:
            return self.privacy

        def events(multiplier: float) -> Events:
            event = event_of(self.privacy.model_copy(update={"noise_multiplier": multiplier}))
            assert event is not None
            return Counter({event: self.rounds}) + Counter({EVENT: 1})  # they may be equal

        multiplier = multiplier_for(filter_for(self.epsilon, DELTA), events)
        return self.privacy.model_copy(update={"noise_multiplier": multiplier})


@dataclass(frozen=True)
class Study:
    """An app, data for it, and the ways that are compared."""

    name: str
    title: str
    app: Path
    prepare: tuple[str, ...]
    metrics: tuple[str, ...]
    guess: str
    ways: tuple[Way, ...]
    seeds: int
    fit_norm: float
    read: Callable[[Path], tuple[Floats, Floats]]
    fit: Callable[[Floats, Floats], Floats]
    score: Callable[[Floats, Path], dict[str, float]]


def ways(
    sums: Sums, sums_kind: str, sums_norm: float, sums_rounds: int, descent: DpSgd, descent_norm: float,
    fit_norm: float, blocks: Sequence[int],
) -> tuple[Way, ...]:  # fmt: skip
    """All lines of a study."""

    def claim(epsilon: float, unit: str, ground: str, mechanism: str, clip_norm: float, **more: Any) -> Privacy:
        stated = {"unit": unit, "ground": ground, "mechanism": mechanism, "clip_norm": clip_norm}
        return Privacy.model_validate(
            {**stated, "noise_multiplier": 1.0, "epsilon_max": epsilon, "delta": DELTA, **more}
        )

    found = [Way("no noise, sums", None, "sums", sums_kind, sums_rounds)]
    found.append(Way("no noise, mean of five fits", None, "fits", "train"))
    for e in EPSILONS:
        summed = claim(e, "patient", "vetted", "sums", sums_norm)
        stepped = claim(e, "patient", "vetted", "dp-sgd", descent_norm, **STEPS)
        found.append(Way("sums", e, "sums", sums_kind, sums_rounds, summed, sums))
        found.append(Way("DP-SGD", e, "steps", "train.steps", 10, stepped, descent))
        for k in blocks:
            blocked = claim(
                e, "patient", "enforced", "discrete-gaussian", fit_norm, blocks=k, slot_seconds=SLOT_SECONDS
            )
            found.append(Way(f"{k} blocks", e, "fits", "train", 1, blocked))
        found.append(Way("site", e, "fits", "train", 1, claim(e, "site", "enforced", "discrete-gaussian", fit_norm)))
    return tuple(found)


def clock() -> Study:
    """Age from sixteen CpGs, on the packaged cortex set."""
    sys.path.insert(0, str(CLOCK))
    from small_clock import AGE_CENTRE, AGE_SCALE, CENTRE, CPGS, SCALE, read
    from small_clock.ridge import fit, moments
    from small_clock.server_app import errors

    betas = {"names": CPGS, "low": 0.0, "high": 1.0, "centre": CENTRE.tolist(), "scale": SCALE.tolist(), "fill": 0.2}
    age = {"names": ["age"], "low": -1.0, "high": 100.0, "centre": AGE_CENTRE, "scale": AGE_SCALE}
    formula = {"kind": "moments", "features": [betas], "target": age}
    sums = Sums.model_validate({"kind": "sums", "store": "cohort", "formula": formula})
    descent = DpSgd.model_validate(
        {"kind": "dp-sgd", "store": "cohort", "features": [betas], "task": "regression", "target": age,
         "layers": [{"kind": "linear", "inputs": 16, "outputs": 1}], "learning_rate": 0.05, "expected_patients": 90}
    )  # fmt: skip
    # clip norms: of a row of unit variance (171 numbers), of half of a first gradient, of the weights' prior
    found = ways(sums, "query.moments", 13.0, 1, descent, 4.0, 1.0, (4, 8, 16))
    return Study(
        "clock", "Age from 16 CpGs, 675 patients", CLOCK, (), ("mae",), "mae_of_the_mean", found, 5, 1.0,
        read, lambda x, y: fit(moments(x, y)), errors,
    )  # fmt: skip


def logistic(
    name: str, title: str, patients: int, blocks: Sequence[int], prepare: tuple[str, ...], seeds: int
) -> Study:
    """A logistic regression on ten columns."""
    sys.path.insert(0, str(GLM))
    from small_glm import COLUMNS, read
    from small_glm.logistic import fit
    from small_glm.server_app import scores

    x = {"names": COLUMNS, "low": -4.0, "high": 4.0}
    formula = {"kind": "glm-gradient", "family": "binomial", "features": [x],
               "target": {"names": ["y"], "low": 0.0, "high": 1.0}}  # fmt: skip
    sums = Sums.model_validate({"kind": "sums", "store": "cohort", "formula": formula})
    descent = DpSgd.model_validate(
        {"kind": "dp-sgd", "store": "cohort", "features": [x], "task": "binary",
         "target": {"name": "y", "values": ["0", "1"]}, "layers": [{"kind": "linear", "inputs": 10, "outputs": 1}],
         "learning_rate": 0.5, "expected_patients": patients}
    )  # fmt: skip
    # clip norms: gradient and Hessian of a row of unit variance at probability 1/2, half of that gradient, the prior
    found = ways(sums, "query.newton", 2.6, 3, descent, 1.0, 2.0, blocks)
    return Study(
        name, title, GLM, prepare, ("log_loss", "auc"), "log_loss_of_the_share", found, seeds, 2.0, read, fit, scores
    )


STUDIES: dict[str, Callable[[], Study]] = {
    "clock": clock,
    "breast-cancer": lambda: logistic(
        "breast-cancer", "Breast cancer, 569 patients", 80, (4, 8, 16), ("--set", "breast-cancer"), 5
    ),
    "synthetic": lambda: logistic(
        "synthetic", "Synthetic, 20,000 patients", 2800, (16, 64, 128), ("--set", "synthetic"), 3
    ),
}


# --- running ---------------------------------------------------------------------------------------------------------


def write_app(study: Study, way: Way, held_out: Path, into: Path) -> Path:
    """A copy of the app that goes this way, with the terms for it."""
    copy = into / study.app.name
    shutil.copytree(study.app, copy, ignore=shutil.ignore_patterns("__pycache__"))
    said = tomllib.loads((copy / "pyproject.toml").read_text())
    flame, privacy, noise = said["tool"]["flame"], way.noised, 0.0
    if way.epsilon is not None:
        flame["privacy"] = privacy.model_dump(mode="json", exclude_none=True)
        del flame["disclosure"]
    if way.work is not None:
        arrays = [
            {"record": r, "name": n, "dtype": d, "shape": list(s)} for (r, n), (d, s) in output_arrays(way.work).items()
        ]
        flame["messages"] = {way.kind: {"per_run": way.rounds, "update": "value", "arrays": arrays}}
        flame["vetted"] = {way.kind: way.work.model_dump(mode="json", exclude_none=True)}
        noise = (privacy.noise_multiplier or 0.0) * (privacy.clip_norm or 0.0) * NODES**0.5  # of the sum over the DIZ
    else:
        flame["messages"] = {way.kind: {**flame["messages"][way.kind], "per_run": way.rounds}}
    config = {"method": way.method, "rounds": way.rounds, "held-out": str(held_out)}
    config["noise-std"] = noise if way.method == "sums" else 0.0
    said["tool"]["flwr"]["app"]["config"], flame["run_config"] = config, {}
    (copy / "pyproject.toml").write_text(tomli_w.dumps(said))
    return copy


def run_one(job: tuple[str, int, int, str]) -> dict[str, Any]:
    """One simulation; in a process of a pool.

    Again if a DIZ refused: the noised count of its patients said that they may be too few, and no other reason.
    """
    name, number, seed, data = job
    study = STUDIES[name]()
    way = study.ways[number]
    logging.getLogger("absl").setLevel(logging.ERROR)  # dp-accounting tells of Rényi orders that it leaves out
    for again in range(_TRIES):
        began = time.perf_counter()
        if (found := _simulated(study, way, seed, Path(data))) is not None:
            said = {"study": name, "way": way.name, "epsilon": way.epsilon, "seed": seed, "again": again}
            return said | found | {"seconds": time.perf_counter() - began}
    raise RuntimeError(f"{name}, {way.name}, epsilon {way.epsilon}, seed {seed}: refused {_TRIES} times")


def _simulated(study: Study, way: Way, seed: int, data: Path) -> dict[str, Any] | None:
    from flame_fl.cli.watch import SilentWatcher
    from flame_fl.simulation.run import Settings, simulate

    with tempfile.TemporaryDirectory(prefix="flame-utility-") as folder:
        app, out = write_app(study, way, data / "held-out.parquet", Path(folder)), Path(folder) / "run"
        settings = Settings(
            app=app, data=data, sandbox="in-process", policy="stated-terms", out=out, seed=seed, report=False
        )
        with SilentWatcher() as watcher:
            outcome = simulate(settings, watcher)
        if outcome.error is not None:
            if outcome.details and all("counted with noise" in e.detail for e in outcome.details if e.code):
                return None
            raise RuntimeError(f"{study.name}, {way.name}, epsilon {way.epsilon}, seed {seed}: {outcome.error}")
        found = json.loads((out / "metrics.json").read_text())
        spent = [node.epsilon_spent for node in outcome.facts.nodes if node.epsilon_spent is not None]
    if way.epsilon is not None and not (len(spent) == NODES and max(spent) <= way.epsilon):
        raise RuntimeError(f"{study.name}, {way.name}: the ledgers say {spent} of {way.epsilon}")
    noise = way.noised.noise_multiplier
    return {"spent": max(spent, default=0.0), "noise_multiplier": noise} | {m: found[m] for m in study.metrics}


def without_noise(study: Study, way: Way, data: Path, seed: int) -> dict[str, Any]:
    """A mean of clipped fits, calculated without gates: what blocks and clipping cost before there is any noise."""
    rng, k, means = np.random.default_rng(seed), way.privacy.blocks or 1, []
    for file in sorted(data.glob("DIZ-*/cohort/patients.parquet")):
        x, y = study.read(file)
        block = rng.integers(k, size=len(y))
        ws = [study.fit(x[block == b], y[block == b]) for b in range(k) if np.any(block == b)]
        means.append(sum(w * min(1.0, study.fit_norm / float(np.linalg.norm(w))) for w in ws) / k)
    found = study.score(np.mean(means, axis=0), data / "held-out.parquet")
    return {
        "study": study.name, "way": way.name, "epsilon": None, "seed": seed,
        **{metric: found[metric] for metric in study.metrics},
    }  # fmt: skip


def prepare(study: Study, seed: int, folder: Path) -> Path:
    """The data of one seed."""
    out = folder / f"{study.name}-{seed}"
    module = study.app.name.replace("-", "_")
    command = [sys.executable, "-m", module, "prepare", "--out", str(out), "--nodes", str(NODES), "--seed", str(seed)]
    subprocess.run([*command, *study.prepare], check=True, env={**os.environ, "PYTHONPATH": str(study.app)})
    return out


def jobs(study: Study, seeds: int, folder: Path) -> Iterator[tuple[str, int, int, str]]:
    """Every way with every seed."""
    for seed in range(1, seeds + 1):
        data = prepare(study, seed, folder)
        yield from ((study.name, number, seed, str(data)) for number in range(len(study.ways)))


# --- telling ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """Mean and standard deviation over the seeds."""

    mean: float
    spread: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} ± {self.spread:.2g}"


def figures(runs: Sequence[dict[str, Any]], metric: str) -> dict[tuple[str, float | None], Figure]:
    """By way and epsilon."""
    values: dict[tuple[str, float | None], list[float]] = defaultdict(list)
    for run in runs:
        values[run["way"], run["epsilon"]].append(run[metric])
    return {k: Figure(statistics.mean(v), statistics.stdev(v) if len(v) > 1 else 0.0) for k, v in values.items()}


def table(study: Study, runs: Sequence[dict[str, Any]], guess: Figure) -> str:
    """Markdown, in the order of the ways."""
    lines = []
    for metric in study.metrics:
        found = figures(runs, metric)
        names = list(dict.fromkeys(way.name for way in study.ways if way.epsilon is not None))
        lines += [f"| {WORDS[metric]} | ε = 1 | ε = 3 | ε = 8 | without noise |", "|---|---|---|---|---|"]
        for name in names:
            own = [str(found[name, e]) for e in EPSILONS]
            plain = found["no noise, sums", None] if name == "sums" else found.get((name, None))
            lines.append(f"| {name} | {' | '.join(own)} | {plain or '–'} |")
        if metric == study.metrics[0]:
            lines.append(f"| nobody asked: {GUESS[metric]} | | | | {guess} |")
        lines.append("")
    return "\n".join(lines)


WORDS = {"mae": "mean absolute error, years", "log_loss": "logarithmic loss, nats", "auc": "area under the ROC curve"}
GUESS = {"mae": "the mean age for everybody", "log_loss": "the share of the ill for everybody"}


def plot(study: Study, runs: Sequence[dict[str, Any]], guess: Figure) -> str:
    """SVG."""
    metric = study.metrics[0]
    found = figures(runs, metric)
    names = list(dict.fromkeys(way.name for way in study.ways if way.epsilon is not None))

    def paint(axes: "Axes") -> None:
        for number, name in enumerate(names):
            points = [found[name, e] for e in EPSILONS]
            axes.errorbar(
                [e * (1 + 0.015 * (number - len(names) / 2)) for e in EPSILONS],
                [p.mean for p in points], yerr=[p.spread for p in points], label=name, capsize=2,
                color=plots.LIGHT.series[number % 8], marker=plots.MARKERS[number % len(plots.MARKERS)],
            )  # fmt: skip
        plain = found["no noise, sums", None].mean
        axes.axhline(plain, color=plots.LIGHT.muted, linestyle="--", label="no noise")
        axes.axhline(guess.mean, color=plots.LIGHT.muted, linestyle=":", label="nobody asked")
        axes.set_xscale("log")
        axes.set_xticks(EPSILONS, [f"{e:g}" for e in EPSILONS])
        axes.minorticks_off()
        axes.set_xlabel("ε of each DIZ, δ = 1e-5")
        axes.set_ylabel(WORDS[metric])
        axes.set_title(study.title, loc="left", fontsize="medium")
        plots.legend(axes)

    begin, _, rest = plots.draw(620, 420, paint).partition(">")
    return f'{begin}><rect width="100%" height="100%" fill="#ffffff"/>{rest}'  # pages may be dark


def document(sections: dict[str, str], head: str) -> None:
    """Put the tables between their marks in docs/utility.md."""
    file = ROOT / "docs" / "utility.md"
    text = file.read_text(encoding="utf-8")
    for name, body in {"machine": head, **sections}.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        if not after:
            raise SystemExit(f"docs/utility.md has no place for {name!r}")
        text = before + begin + body + end + after
    file.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", default=",".join(STUDIES))
    parser.add_argument("--seeds", type=int, help="instead of 5, or 3 for the synthetic set")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--document", action="store_true")
    wanted = parser.parse_args()
    began, everything, sections, guesses = time.perf_counter(), [], {}, {}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="flame-utility-data-") as folder:
        for name in wanted.studies.split(","):
            study = STUDIES[name]()
            seeds = wanted.seeds or study.seeds
            todo = list(jobs(study, seeds, Path(folder)))
            with context.Pool(wanted.workers) as pool:
                runs = []
                for run in pool.imap_unordered(run_one, todo, chunksize=1):
                    runs.append(run)
                    print(
                        f"{len(runs)}/{len(todo)} {run['way']} {run['epsilon']} {run[study.metrics[0]]:.4g}"
                        f" ({run['seconds']:.1f} s)", file=sys.stderr, flush=True,
                    )  # fmt: skip
            bare = [
                number for number, way in enumerate(study.ways) if way.method == "fits" and way.epsilon == EPSILONS[0]
            ]
            runs += [without_noise(study, study.ways[n], Path(data), seed) for _, n, seed, data in todo if n in bare]
            said = [
                json.loads((Path(folder) / f"{name}-{s}" / "prepared.json").read_text()) for s in range(1, seeds + 1)
            ]
            values = [one[study.guess] for one in said]
            guess = Figure(statistics.mean(values), statistics.stdev(values) if seeds > 1 else 0.0)
            runs.sort(key=lambda r: (r["way"], r["epsilon"] or 0.0, r["seed"]))
            everything += runs
            guesses[name] = asdict(guess)
            sections[name] = table(study, runs, guess)
            print(f"{study.title}, {seeds} seeds\n\n{sections[name]}")
            if wanted.document:
                image = ROOT / "docs" / "images" / f"utility-{name}.svg"
                image.write_text(plot(study, runs, guess) + "\n", encoding="utf-8")
    repeated = sum(run.get("again", 0) for run in everything)
    head = machine(time.perf_counter() - began, wanted.workers, len(everything), repeated)
    print(head)
    said_of = {"measured": head.strip(), "guess": guesses, "runs": everything}
    (HERE / "utility.json").write_text(json.dumps(said_of, indent=1) + "\n")
    if wanted.document:
        document(sections, head)


def machine(seconds: float, workers: int, runs: int, repeated: int) -> str:
    """When and where."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("flwr", "numpy"))
    model = ""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name")) + ", "
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {model}{workers} processes on {os.cpu_count()} cores that others"
        f" used too, Python {platform.python_version()}, {versions}; {seconds / 60:.0f} minutes for {runs} figures."
        f" Simulations repeated because a DIZ's noised count of its patients came out too small: {repeated}.\n"
    )


if __name__ == "__main__":
    main()
