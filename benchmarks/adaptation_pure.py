"""Exact federated wenda's first half at the published size, in plain numpy: no Flower, no gate, no sandbox.

    python benchmarks/adaptation_pure.py [--cpgs P] [--source N] [--target M] [--sites K] [--json]

SYNTHETIC betas of the size that wenda was published with: 12,980 CpGs, 1,866 source samples, 1,001 target samples.
Steps, with their seconds and the process's peak memory so far: every site's share of the sketch (one site after the
other), the spectrum at the hub, the models of all CpGs, and the confidences at the target. On a machine that others
use as well OPENBLAS_NUM_THREADS=1 gives the steadier figures.

Published for the feature models and confidences at this size: wenda 51 h on 10 cores (Handl et al., 2019), wenda_gpu
18,566 s on a GPU (Hippen et al., wenda_gpu, 2022). Those times are other machines' and include what these programs do
besides; the data behind them cannot be had, hence the synthetic ones.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from methylation_age import feature_models, spectrum

Float = npt.NDArray[np.float64]
T = TypeVar("T")

FACTORS, SHIFTED = 40, 0.2


def synthetic(n: int, m: int, p: int, seed: int = 0) -> tuple[Float, Float]:
    """Standardised source and target rows: a few factors and noise, a fifth of the target's CpGs without relations."""
    generator = np.random.default_rng(seed)
    loadings = generator.normal(size=(FACTORS, p)) * np.geomspace(1.0, 0.1, FACTORS)[:, None]
    source, target = (generator.normal(size=(k, FACTORS)) @ loadings + generator.normal(size=(k, p)) for k in (n, m))
    broken = generator.choice(p, round(SHIFTED * p), replace=False)
    target[:, broken] = generator.permuted(target[:, broken], axis=0)
    centre, scale = source.mean(axis=0), source.std(axis=0)
    return (source - centre) / scale, (target - centre) / scale


def sketch(source: Float, omega: Float, sites: int) -> Float:
    """The sum of the sites' sketches."""
    total = np.zeros(omega.shape)
    for site in range(sites):
        total += spectrum.sketch(source[site::sites], omega)
    return total


class Steps:
    """Runs steps and keeps their seconds and the peak memory after each."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def run(self, name: str, step: Callable[[], T]) -> T:
        """The step's result."""
        start, start_cpu = time.perf_counter(), time.process_time()
        result = step()
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.rows.append({"step": name, "seconds": seconds, "cpu_seconds": cpu, "peak_gigabytes": peak / 1e9})
        return result


def main() -> None:
    """All steps once, and a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpgs", type=int, default=12_980)
    parser.add_argument("--source", type=int, default=1_866)
    parser.add_argument("--target", type=int, default=1_001)
    parser.add_argument("--sites", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    n, p, sites = options.source, options.cpgs, options.sites
    steps = Steps()
    source, target = steps.run("synthetic data", lambda: synthetic(n, options.target, p))
    r = spectrum.width(n, p)
    omega = steps.run("directions (each site)", lambda: spectrum.directions(0, n, p, (0, r)))
    sketched = steps.run("sketch (all sites, in turn)", lambda: sketch(source, omega, sites))
    of = steps.run("spectrum (hub)", lambda: spectrum.from_sketch(sketched, 0, n, float(n * p)))
    models = steps.run("models of all CpGs (hub)", lambda: feature_models.fit(of))
    observed = np.ones(target.shape, dtype=np.bool_)
    total, count = steps.run(
        "confidences (target)", lambda: feature_models.confidence_sums(of, models, target, observed)
    )
    seconds, cpu = (sum(row[key] for row in steps.rows[1:]) for key in ("seconds", "cpu_seconds"))
    megabytes = {
        "sketch, one site up": p * r * 8 / 1e6,
        "spectrum and models, down to the target": (p * (len(of.values) + 2) + len(of.values)) * 8 / 1e6,
        "confidences, up": p * 16 / 1e6,
    }
    found = {
        "cpgs": p,
        "source": n,
        "target": options.target,
        "sites": sites,
        "synthetic": True,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "steps": steps.rows,
        "megabytes": megabytes,
        "median_confidence": float(np.median(total / count)),
    }
    if options.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    sys.stdout.write(f"SYNTHETIC: {p} CpGs, {n} source samples at {sites} sites, {options.target} target samples\n")
    for row in steps.rows:
        times = f"{row['seconds']:8.2f} s   CPU {row['cpu_seconds']:8.2f} s"
        sys.stdout.write(f"{row['step']:<30} {times}   peak {row['peak_gigabytes']:6.2f} GB\n")
    sys.stdout.write(f"{'sum without the data':<30} {seconds:8.2f} s   CPU {cpu:8.2f} s\n")
    for name, size in megabytes.items():
        sys.stdout.write(f"{name:<40} {size:8.1f} MB\n")


if __name__ == "__main__":
    main()
