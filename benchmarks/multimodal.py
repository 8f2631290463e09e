"""The network of several modalities: training samples a second through sandboxes and gates, against the loop alone.

    python benchmarks/multimodal.py [--pairs 3] [--rounds 6] [--data FOLDER]

Five virtual DIZ of the set brain (made up; it needs nilearn's template, or a prepared folder). Gated is
a whole `flame simulate` with subprocess sandboxes and masks; alone is the same function, `deep_model.train`, on the
same patients in the same order, in one process that has all of them in memory. Both run on one core, in turn. A round
counts from the end of the one before, so that masking, checking and averaging are in it; the first one, with imports,
reading and resampling of images, is told apart as start-up.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from datetime import datetime
from itertools import pairwise
from pathlib import Path

APP = Path(__file__).parents[1] / "use_cases" / "multimodal-imaging"
FLAME = Path(sys.executable).with_name("flame")
DIZ = 5
_ENDED = re.compile(r"^(\S+ \S+) INFO .*Round \d+ of \d+ took")
_BEGUN = re.compile(r"^(\S+ \S+) INFO ")


def gated(data: Path, out: Path, rounds: int, core: int) -> tuple[float, float]:
    """Seconds of the start-up with the first round, and of each later round (median)."""
    # what comes after training is not measured, and is kept short
    said = f'analysis="deep" rounds={rounds} saliency=false'
    subprocess.run(
        [FLAME, "simulate", APP, "--data", data, "--out", out, "-c", said, "--sandbox", "subprocess", "--seed", "1"],
        check=True, capture_output=True, preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip
    lines = (out / "logs" / "server.log").read_text().splitlines()
    ends = [_when(found[1]) for line in lines if (found := _ENDED.match(line))]
    begun = next(_when(found[1]) for line in lines if (found := _BEGUN.match(line)))
    if len(ends) != rounds:
        raise SystemExit(f"The log tells of {len(ends)} rounds, not {rounds}; see {out / 'logs'}.")
    return ends[0] - begun, statistics.median(b - a for a, b in pairwise(ends))


def alone(data: Path, rounds: int, core: int) -> tuple[float, float, int]:
    """The same of the loop alone, and how many samples a round has."""
    os.sched_setaffinity(0, {core})
    begun = time.perf_counter()
    from multimodal_imaging import deep_model, site_deep
    from multimodal_imaging.deep_run import find_inputs
    from multimodal_imaging.pooled_deep import InMemory
    from multimodal_imaging.settings import Settings
    from multimodal_imaging.site import Request
    from multimodal_imaging.store import load_site

    config = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    settings = Settings.from_config({**config, "analysis": "deep", "rounds": rounds})
    sites = []
    for number in range(1, DIZ + 1):
        folder = data / f"DIZ-{number}"
        images = folder / "images"
        sites.append(load_site(folder / "patients", images if images.is_dir() else None, settings, node=number))
    inputs = find_inputs(InMemory(sites, settings), settings)
    request, patients = Request(settings, inputs.content()), []
    for site in sites:
        rows = site_deep.trained(site, settings)
        rows = rows[~site_deep.calibrating(site, settings)[rows]]
        patients.append(site_deep.see(site, request, inputs.recipe, rows))
    weights, ends = deep_model.initial_weights(inputs.recipe), []
    for number in range(1, rounds + 1):
        found = [deep_model.train(weights, own, inputs.recipe, number)[0] for own in patients]
        weights = {name: sum(one[name] for one in found) / len(found) for name in weights}
        ends.append(time.perf_counter())
    each = statistics.median(b - a for a, b in pairwise(ends))
    return ends[0] - begun, each, settings.epochs * sum(len(own) for own in patients)


def main() -> None:
    """Measure, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    if wanted.alone:
        print(*alone(wanted.data, wanted.rounds, core))
        return
    with tempfile.TemporaryDirectory(prefix="flame-multimodal-") as folder:
        data = wanted.data or Path(folder) / "data"
        if wanted.data is None:
            prepare = [sys.executable, "-m", "multimodal_imaging", "prepare", "--set", "brain", "--nodes", str(DIZ)]
            subprocess.run([*prepare, "--out", data], check=True, stdout=subprocess.DEVNULL)
        ratios = []
        for number in range(wanted.pairs):
            call = [sys.executable, __file__, "--alone", "--data", data, "--rounds", str(wanted.rounds)]
            said = subprocess.run(call, check=True, capture_output=True, text=True).stdout.split()
            start_alone, each_alone, samples = float(said[0]), float(said[1]), int(said[2])
            start, each = gated(data, Path(folder) / f"run-{number}", wanted.rounds, core)
            whole = [first + (wanted.rounds - 1) * rest for first, rest in ((start_alone, each_alone), (start, each))]
            ratios.append((each_alone / each, whole[0] / whole[1]))
            print(
                f"pair {number + 1}: alone {samples / each_alone:.0f} samples/s, gated {samples / each:.0f}"
                f" ({ratios[-1][0]:.2f}x); start-up with the first round {start_alone:.1f} s and {start:.1f} s,"
                f" all {wanted.rounds} rounds {ratios[-1][1]:.2f}x",
                flush=True,
            )
    steady, whole_run = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"gated / alone, medians of {wanted.pairs}: steady {steady:.2f}x (aim: 0.9x), with start-up {whole_run:.2f}x")


def _when(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()


if __name__ == "__main__":
    main()
