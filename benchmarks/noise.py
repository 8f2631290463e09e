"""Noise and release, against OpenDP's discrete Gaussian and against plain NumPy.

    python benchmarks/noise.py [--pairs 5] [--parameters 10000000] [--opendp PYTHON] [--json]

Draws: seconds of processor time for a million draws of the discrete Gaussian at a gate's scale, sigma = 2^20, against
OpenDP's `make_gaussian` over a vector of integers (exact, from cryptographic randomness too). OpenDP is run by the
interpreter that `--opendp` names, or this one; without it there is no such row.

Release: seconds of wall time for what a gate does with an update of so many float32 parameters (verify that it is
finite, clip into integers, noise, back to float32), against what a script would do: NumPy's norm, scaling and
`Generator.normal`, from a generator that can be predicted. `RandomState.normal`, the older one, is shown beside it.

Ours and the peer's runs alternate. A row is written only if both had the noise that was asked for.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flame_fl.privacy.clipping import CLIP_INT, clip_to_integers
from flame_fl.privacy.discrete_gaussian import ExactNoise, sigma_squared

SIGMA = float(CLIP_INT)
OURS_AT_ONCE, PEERS_AT_ONCE = 2_000_000, 100_000
CLIP_NORM, MULTIPLIER = 1.0, 1.0
_OPENDP = f"""
import statistics, time
import opendp.prelude as dp
dp.enable_features("contrib")
space = dp.vector_domain(dp.atom_domain(T="i64"), size={PEERS_AT_ONCE}), dp.l2_distance(T="f64")
noise = dp.m.make_gaussian(*space, scale={SIGMA})
zeros = [0] * {PEERS_AT_ONCE}
started = time.thread_time()
draws = noise(zeros)
print(time.thread_time() - started, statistics.pstdev(draws))
"""


@dataclass(frozen=True)
class Comparison:
    """Seconds of alternating runs. `ratio` is read as `better` says."""

    work: str
    ours: Sequence[float]
    peer: Sequence[float]
    better: str  # "peer ÷ ours", of which more is better, or "ours ÷ peer", of which less is
    aim: float | None

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.ours, self.peer, strict=True)
        return [o / p if self.better == "ours ÷ peer" else p / o for o, p in pairs]

    def as_json(self) -> dict[str, object]:
        return {
            "work": self.work,
            "ours_seconds": statistics.median(self.ours),
            "peer_seconds": statistics.median(self.peer),
            "ratio": statistics.median(self.ratios),
            "spread": [min(self.ratios), max(self.ratios)],
            "better": self.better,
            "aim": self.aim,
        }

    def __str__(self) -> str:
        ours, peer = statistics.median(self.ours), statistics.median(self.peer)
        sign = "≤" if self.better == "ours ÷ peer" else "≥"
        aim = f", aim {sign} {self.aim:g}" if self.aim is not None else ""
        spread = f"{min(self.ratios):.3g} to {max(self.ratios):.3g}"
        ratio = f"{statistics.median(self.ratios):.3g} ({self.better}{aim}; {spread})"
        return f"{self.work}: ours {ours:.3g} s, peer {peer:.3g} s, ratio {ratio}"


def our_draws() -> float:
    """Processor seconds for a million draws."""
    started = time.thread_time()
    draws = ExactNoise().discrete_gaussian(sigma_squared(SIGMA, 1), OURS_AT_ONCE)
    seconds = time.thread_time() - started
    _require_noise(float(draws.std()), SIGMA)
    return seconds / OURS_AT_ONCE * 1e6


def opendp_draws(python: str) -> float:
    """The same of OpenDP, in a process of its own; its import is not counted.

    Raises:
        RuntimeError: That interpreter has no OpenDP, or it failed.
    """
    done = subprocess.run([python, "-c", _OPENDP], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    seconds, deviation = map(float, done.stdout.split())
    _require_noise(deviation, SIGMA)
    return seconds / PEERS_AT_ONCE * 1e6


def our_release(update: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What leaves of an update."""
    q = clip_to_integers(update, CLIP_NORM)
    q += ExactNoise().discrete_gaussian(sigma_squared(MULTIPLIER, CLIP_INT), len(q))
    return (q * (CLIP_NORM / CLIP_INT)).astype(np.float32)


def plain_release(update: npt.NDArray[np.float32], normal: Callable[..., npt.NDArray[np.float64]]) -> npt.NDArray:
    """Clip and noise as a script would."""
    clipped = update * min(1.0, CLIP_NORM / float(np.linalg.norm(update)))
    return (clipped + normal(0.0, MULTIPLIER * CLIP_NORM, len(update))).astype(np.float32)


def _require_noise(deviation: float, sigma: float) -> None:
    if not 0.98 < deviation / sigma < 1.02:
        raise RuntimeError(f"the noise's standard deviation is {deviation:g} in place of {sigma:g}")


def _seconds(work: Callable[[], npt.NDArray[np.float32]]) -> float:
    started = time.perf_counter()
    left = work()
    seconds = time.perf_counter() - started
    _require_noise(float(left[:100_000].std()), MULTIPLIER * CLIP_NORM)
    return seconds


def draws(python: str, pairs: int) -> Comparison:
    """The first row."""
    our_draws()  # builds the tables
    times = [(our_draws(), opendp_draws(python)) for _ in range(pairs)]
    ours, peer = zip(*times, strict=True)
    return Comparison("a million draws at sigma 2^20, against OpenDP, per core", ours, peer, "peer ÷ ours", 200.0)


def releases(parameters: int, pairs: int) -> list[Comparison]:
    """The others."""
    update = np.random.default_rng(0).normal(size=parameters).astype(np.float32)
    normals = {"Generator.normal": np.random.default_rng().normal, "RandomState.normal": np.random.RandomState().normal}
    _seconds(lambda: our_release(update[:1_000_000]))
    found = []
    for name, normal in normals.items():
        ours, peer = [], []
        for _ in range(pairs):
            ours.append(_seconds(lambda: our_release(update)))
            peer.append(_seconds(lambda normal=normal: plain_release(update, normal)))
        work = f"release of {parameters:,} parameters, against NumPy's clip and {name}"
        found.append(Comparison(work, ours, peer, "ours ÷ peer", 3.0))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--parameters", type=int, default=10_000_000)
    parser.add_argument("--opendp", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows, missing = releases(args.parameters, args.pairs), ""
    try:
        rows.insert(0, draws(args.opendp, args.pairs))
    except RuntimeError as err:
        missing = f"no comparison with OpenDP: {err} ({args.opendp}). Install opendp[numpy], or name --opendp PYTHON."
    if args.json:
        print(json.dumps({"rows": [row.as_json() for row in rows], "missing": missing}, ensure_ascii=False, indent=1))
        return
    print(*rows, *filter(None, [missing]), sep="\n")


if __name__ == "__main__":
    main()
