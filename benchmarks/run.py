"""`make bench`: measures side by side, and writes one table, RESULTS.md.

    python benchmarks/run.py [--runs 5] [--only WORD]

Ours and the peer's runs alternate, so that what else the machine does meets both. Every pair must have computed the
same thing, or there is no row.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import cutting
import limma
import measure
import noise
import snapshots
from deployment import MODEL_BYTES, Federation, StockFlower, fresh_process, seconds_and_loss, warm_container
from peer import FlowerSimulation

HERE = Path(__file__).parent
ROOT = HERE.parent
TEN_NODES, NODES = HERE / "apps" / "ten-nodes", 10
METHYLATION = ROOT / "use_cases" / "methylation-age"
FLAME = str(Path(sys.executable).parent / "flame")


@dataclass(frozen=True)
class Row:
    """One line of the table. `better` says which way the ratio is read."""

    work: str
    ours: Sequence[float]
    peer: Sequence[float]
    unit: str
    better: str  # "peer ÷ ours", of which more is better, or "ours ÷ peer", of which less is
    aim: float | None
    command: str

    @property
    def ratios(self) -> list[float]:
        """One per pair of runs."""
        ours_first = self.better == "ours ÷ peer"
        return [o / p if ours_first else p / o for o, p in zip(self.ours, self.peer, strict=True)]

    def __str__(self) -> str:
        ratios = self.ratios
        middle = f"**{statistics.median(ratios):.3g}** ({self.better})"
        return (
            f"| {self.work} | {self._shown(self.ours)} | {self._shown(self.peer)} | {middle}"
            f" | {min(ratios):.3g} to {max(ratios):.3g} ({len(ratios)}) | {self._aim()} | `{self.command}` |"
        )

    def _aim(self) -> str:
        if self.aim is None:
            return "–"
        middle, less = statistics.median(self.ratios), self.better == "ours ÷ peer"
        met = middle <= self.aim if less else middle >= self.aim
        return f"{'≤' if less else '≥'} {self.aim:g}: {'met' if met else '**missed**'}"

    def _shown(self, values: Sequence[float]) -> str:
        return f"{statistics.median(values):.3g} {self.unit}"


def simulate_once(sandbox: str, *, memory: bool = False) -> measure.Finished:
    """The whole `flame simulate` of the ten-nodes app."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            FLAME,
            "simulate",
            str(TEN_NODES),
            "--nodes",
            str(NODES),
            "--sandbox",
            sandbox,
            "--out",
            f"{folder}/r",
        ]
        return measure.run(command, cwd=Path(folder), environment={}, memory=memory)


def loss(output: str) -> str:
    """Ten digits of the last round's loss: by it two runs did the same work."""
    found = re.findall(r"final loss ([0-9.e+-]+)", output)
    if not found:
        raise RuntimeError(f"No final loss in:\n{output[-2000:]}")
    return f"{float(found[-1]):.9e}"


def strategy_seconds(output: str) -> float:
    """What the ServerApp measured around its strategy."""
    return float(re.findall(r"strategy seconds ([0-9.]+)", output)[-1])


def same(ours: measure.Finished, theirs: measure.Finished) -> None:
    """Raise if the two did not compute the same."""
    if loss(ours.output) != loss(theirs.output):
        raise RuntimeError("The two runs did not compute the same loss.")


def ten_nodes(runs: int, say: Callable[[str], None]) -> list[Row]:
    """`flame simulate` against `flwr run`: seconds of the whole process and of the run alone, and memory."""
    whole: dict[str, list[float]] = {"in-process": [], "subprocess": []}
    strategy: dict[str, list[float]] = {"in-process": [], "subprocess": []}
    memory: dict[str, list[float]] = {"in-process": [], "subprocess": []}
    whole_peer, strategy_peer, memory_peer = [], [], []
    with FlowerSimulation(NODES) as flower:
        flower.run(TEN_NODES)  # starts its SuperLink, which stays
        for number in range(runs):
            say(f"ten nodes, pair {number + 1} of {runs}")
            theirs = flower.run(TEN_NODES)
            whole_peer.append(theirs.seconds)
            strategy_peer.append(strategy_seconds(theirs.output))
            for sandbox, seconds in whole.items():
                ours = simulate_once(sandbox)
                same(ours, theirs)
                seconds.append(ours.seconds)
                strategy[sandbox].append(strategy_seconds(ours.output))
        for number in range(runs):
            say(f"ten nodes, memory, pair {number + 1} of {runs}")
            memory_peer.append(flower.run(TEN_NODES, memory=True).peak_bytes / 1e6)
            for sandbox, peaks in memory.items():
                peaks.append(simulate_once(sandbox, memory=True).peak_bytes / 1e6)
    rows = []
    for sandbox, aims in (("in-process", (8, 20, 5)), ("subprocess", (None, None, None))):
        measured = (
            ("whole process", whole[sandbox], whole_peer, "s"),
            ("the ServerApp's clock round its strategy", strategy[sandbox], strategy_peer, "s"),
            ("peak memory of all processes", memory[sandbox], memory_peer, "MB"),
        )
        command = f"flame simulate benchmarks/apps/ten-nodes --nodes {NODES} --sandbox {sandbox}"
        for (what, ours_, peer_, unit), aim in zip(measured, aims, strict=True):
            work = f"{NODES} nodes, 5 rounds of training and evaluation, {sandbox} sandboxes: {what}"
            rows.append(Row(work, ours_, peer_, unit, "peer ÷ ours", aim, command))
    return rows


def methylation(runs: int, say: Callable[[str], None]) -> list[Row]:
    """The methylation federation against the computation it contains, in one process."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        prepare = ["prepare", "--out", str(data), "--nodes", "5", "--seed", "1"]
        subprocess.run([sys.executable, "-m", "methylation_age", *prepare], check=True, stdout=subprocess.DEVNULL)
        ours, pure = [], []
        threads = {name: str(os.cpu_count()) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
        for number in range(runs):
            say(f"methylation, pair {number + 1} of {runs}")
            alone = measure.run(
                [sys.executable, str(HERE / "methylation_pure.py"), str(data)], cwd=ROOT, environment=threads
            )
            out = Path(folder) / f"run-{number}"
            command = [FLAME, "simulate", str(METHYLATION), "--data", str(data), "--out", str(out)]
            ours.append(measure.run(command, cwd=ROOT, environment={}).seconds)
            pure.append(alone.seconds)
            _same_error(out, alone.output)
    return [
        Row("Age from methylation, 5 DIZ, subprocess sandboxes, whole process, against the same fits in one process "
            "without Flower or gate (BLAS on all cores)", ours, pure, "s", "ours ÷ peer", 1.3,
            "flame simulate use_cases/methylation-age --data DATA")
    ]  # fmt: skip


def _same_error(out: Path, output: str) -> None:
    shown = re.search(r'"value": "([0-9.]+) years"', (out / "report.json").read_text())
    alone = re.search(r"elastic net MAE ([0-9.]+)", output)
    if not shown or not alone or abs(float(shown[1]) - float(alone[1])) > 0.006:
        raise RuntimeError("The federation and the pure computation did not find the same clock.")


def deployment(runs: int, say: Callable[[str], None]) -> list[Row]:
    """A hub and three nodes with Docker sandboxes, against stock Flower with subprocess isolation."""
    seconds: dict[str, tuple[list[float], list[float]]] = {"width=32": ([], []), "width=3535": ([], [])}
    rounds = {"width=32": 5, "width=3535": 3}
    with StockFlower(3) as stock, Federation(3) as ours:
        for size in seconds:
            config = f"rounds={rounds[size]} {size}"
            ours.run(config)  # warm on both sides: images, imports, page cache
            stock.run(config)
            for number in range(runs):
                say(f"deployment, {size}, pair {number + 1} of {runs}")
                mine, theirs = seconds_and_loss(ours.run(config)), seconds_and_loss(stock.run(config))
                if mine[1] != theirs[1]:
                    raise RuntimeError(f"The two runs did not compute the same loss: {mine[1]}, {theirs[1]}")
                seconds[size][0].append(mine[0] / rounds[size])
                seconds[size][1].append(theirs[0] / rounds[size])
        memory = ours.growth_of_gate() / MODEL_BYTES, stock.growth_of_node() / MODEL_BYTES
    command = "flame federation up --nodes 3 --demo APP; flame run APP --hub local"
    small, large = seconds["width=32"], seconds["width=3535"]
    return [
        Row("3 nodes, TLS, Docker sandboxes: seconds per round (training and evaluation) of a small torch model, "
            "against stock Flower with subprocess isolation and without TLS", *small, "s", "ours ÷ peer", 0.7, command),
        Row("the same with a model of 50 MB", *large, "s", "ours ÷ peer", 1.2, command),
        Row("the same: most that a gate grew, in sizes of the model; stock: its SuperNode", [memory[0]], [memory[1]],
            "models", "ours ÷ peer", None, command),
    ]  # fmt: skip


def sandbox(runs: int, say: Callable[[str], None]) -> list[Row]:
    """A message there and back through a warm container, against what stock Flower does for each: a new process."""
    say("warm container")
    small, large = warm_container(MODEL_BYTES, 20), warm_container(MODEL_BYTES, runs, large=True)
    fresh = [fresh_process() for _ in range(runs)]
    return [
        Row("A small message there and back through a warm Docker sandbox, against a new process that imports Flower "
            "and torch, as stock Flower starts for each message", small[:runs], fresh, "s", "ours ÷ peer", 0.01,
            "python benchmarks/run.py --only sandbox"),
        Row("50 MB there and back through the same (aim: 0.5 s)", large, fresh, "s", "ours ÷ peer", None,
            "python benchmarks/run.py --only sandbox"),
    ]  # fmt: skip


def data_stores(runs: int, say: Callable[[str], None]) -> list[Row]:
    """Hashing against `sha256sum`; cutting genotypes into blocks of patients against reading them once."""
    hashed: tuple[list[float], list[float]] = ([], [])
    with snapshots.files(10) as (folder, names):
        for number in range(runs):
            say(f"hashing 10 GB, pair {number + 1} of {runs}")
            hashed[0].append(snapshots.ours(folder, names))
            hashed[1].append(snapshots.peer(folder, names))
    with tempfile.TemporaryDirectory() as home:
        small, large = Path(home) / "small", Path(home) / "large"
        cutting.make(small, 100_000)
        cutting.make(large, 500_000)
        say("cutting 1,000 x 500,000 genotypes into 20 blocks")
        taken = cutting.seconds(large, runs)
        peaks = cutting.peak_bytes(large) / 1e6, cutting.peak_bytes(small) / 1e6
    return [
        Row("Hash 10 GB in 100 files, in the page cache, against `sha256sum`", *hashed, "s", "ours ÷ peer", 1.2,
            "python benchmarks/snapshots.py 10"),
        Row("Cut a bed file of 1,000 people and 500,000 variants into views of 20 blocks, against reading it once "
            "(bed-reader, int8, all threads)", taken["cut"], taken["read"], "s", "ours ÷ peer", 3,
            "python benchmarks/cutting.py"),
        Row("the same against copying the file's bytes", taken["cut"], taken["copy"], "s", "ours ÷ peer", None,
            "python benchmarks/cutting.py"),
        Row("most memory while cutting 500,000 variants, against 100,000", [peaks[0]], [peaks[1]], "MB", "ours ÷ peer",
            1.1, "python benchmarks/cutting.py"),
    ]  # fmt: skip


def noise_and_release(runs: int, say: Callable[[str], None]) -> list[Row]:
    """Draws against OpenDP, a whole release against NumPy; `OPENDP` names a Python that has it."""
    say("noise and release")
    found = noise.releases(10_000_000, runs)
    try:
        found = [noise.draws(os.environ.get("OPENDP", sys.executable), runs), *found]
    except RuntimeError as err:
        say(f"without OpenDP: {err}")
    return [Row(c.work, c.ours, c.peer, "s", c.better, c.aim, "python benchmarks/noise.py") for c in found]


def expression(runs: int, say: Callable[[str], None]) -> list[Row]:
    """Differential expression over five sites in memory, against R on the pooled samples."""
    say("limma and voom")
    found = [limma.compare(20_000, 1_000, 5, runs), limma.compare(20_000, 300, 5, runs, counts=True)]
    return [Row(p.work, p.ours, p.peer, "s", "ours ÷ peer", limma.AIM, "python benchmarks/limma.py") for p in found]


WORKS = {
    "ten-nodes": ten_nodes,
    "methylation": methylation,
    "deployment": deployment,
    "sandbox": sandbox,
    "data-stores": data_stores,
    "noise": noise_and_release,
    "expression": expression,
}


TITLES = {
    "ten-nodes": "Simulation, against `flwr run`",
    "methylation": "The methylation federation, against its computation",
    "deployment": "A deployment, against stock Flower",
    "sandbox": "The Docker sandbox, by message",
    "data-stores": "Data stores",
    "noise": "Noise and release",
    "expression": "Differential expression, against R",
}
_NOTES = {
    "expression": """Synthetic data, in memory on both sides; the sites answer one after the other. Run with
OPENBLAS_NUM_THREADS=1: one thread for both.""",
    "noise": "Draws in processor time of one core; a release is verify, clip, noise and rescale, on one thread.",
    "ten-nodes": """The peer is Flower's simulation on Ray with its SuperLink already running and without run-time
installation of dependencies. The ServerApp's clock leaves out interpreter start and imports of the
main process, and on our side bundle, state and report.""",
    "methylation": "The peer is one process without Flower or gate.",
    "deployment": """The peer is a SuperLink and three SuperNodes as Flower's documentation starts them, subprocess
isolation, without TLS. Ours: our SuperLink entry point and three nodes with TLS, login, node
authentication and gates, every app in a container, sandboxes warm. The clock is the ServerApp's
round Flower's own FedAvg, divided by its rounds. Part of the difference is that our SuperNode asks
the hub twice a second where Flower's waits three seconds, and that the grid at our hub looks more
often.""",
    "data-stores": """Hashing uses all cores, `sha256sum` one. Genotypes are random, written as PLINK 1 files.""",
    "sandbox": "The peer is a new process that imports what stock Flower imports for each message of a torch app.",
}


def main() -> None:
    """Measure and write; with `--only`, that section alone is replaced."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=WORKS)
    wanted = parser.parse_args()
    sections = _sections((HERE / "RESULTS.md").read_text())
    for name, work in WORKS.items():
        if wanted.only in {None, name}:
            rows = work(wanted.runs, lambda text: print(text, flush=True))
            print("\n".join(str(row) for row in rows))
            sections[TITLES[name]] = _section(name, rows)
    ordered = [sections.pop(title) for title in TITLES.values() if title in sections]
    (HERE / "RESULTS.md").write_text(_page([*ordered, *sections.values()]))  # the rest has programs of its own
    print("wrote benchmarks/RESULTS.md")


def _sections(page: str) -> dict[str, str]:
    """The page's sections, by title."""
    return {part.partition("\n")[0]: f"## {part.rstrip()}" for part in page.split("\n## ")[1:]}


def _section(name: str, rows: list[Row]) -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("flwr", "numpy", "torch"))
    table = "\n".join(str(row) for row in rows)
    return f"""## {TITLES[name]}

{_NOTES[name]}

{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {versions}.

| work | ours | peer | ratio | spread (pairs) | aim | command |
|---|---|---|---|---|---|---|
{table}"""


def _page(sections: list[str]) -> str:
    return (
        """# Results

Written by `make bench`. Ours and the peer's runs alternate on one machine; every figure is a median, the spread is the
smallest and largest ratio over so many pairs. Gates are on in all of ours. Both sides must have computed the same
result, or the row is not written.

"""
        + "\n\n".join(sections)
        + "\n"
    )


if __name__ == "__main__":
    main()
