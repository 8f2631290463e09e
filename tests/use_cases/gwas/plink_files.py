"""Synthetic genotypes as PLINK 1 files and as DIZ in memory, PLINK 2 beside them, and an exchange over the DIZ."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from flame_strategies.sums import Content, Sums, add_up
from gwas import site_counts, site_linear, site_variants
from gwas.genotypes import HEADER, Genotypes
from gwas.harmonise import ABSENT, AS_IS, SWAPPED
from gwas.hub import Hub
from gwas.panel import Panel
from gwas.settings import Settings
from gwas.site import Answer, Arrays, Request, Site

ANSWERS: Mapping[str, Answer] = {**site_variants.ANSWERS, **site_counts.ANSWERS, **site_linear.ANSWERS}

Calls = npt.NDArray[np.int8]

DEFAULTS: dict[str, Any] = {
    "analysis": "linear",
    "set": "own",
    "panel": "made-up",
    "build": "made-up",
    "phenotype": "y",
    "cases": "",
    "covariates": ("age",),
    "levels": {},
    "pcs": 0,
    "missing": "exclude",
    "geno": 1.0,
    "mind": 1.0,
    "maf": 0.0,
    "hwe": 0.0,
    "hwe_in": "all",
    "sex_check": False,
    "ambiguous": "drop",
    "min_carriers": 1,
    "min_sites": 1,
    "chunk": 5000,
    "ld_window": 50,
    "ld_step": 5,
    "ld_r2": 0.2,
    "pca_maf": 0.05,
    "pca_rounds": 30,
    "firth": "fallback",
    "blocks": 200,
    "ridge": (0.5,),
    "folds": 5,
    "score_p": 1.0,
    "score_r2": 0.1,
    "score_kb": 250.0,
    "score_model": "ridge",
    "seed": 1,
    "min_nodes": 1,
    "timeout": 1.0,
}

_UNUSED = {"int": 1, "float": 1.0, "bool": False, "str": ""}
"""What settings have that these tests do not depend on."""


def settings_of(**changed: Any) -> Settings:
    """Settings under which nothing is left out, but for what is changed."""
    own = {name for name in Settings.__dataclass_fields__ if name in DEFAULTS}
    others = {f.name: _UNUSED[getattr(f.type, "__name__", f.type)] for f in fields(Settings) if f.name not in own}
    return Settings(**{**DEFAULTS, **others, **changed})


@dataclass(frozen=True, eq=False)
class Study:
    """Pooled synthetic data: calls (n, p) of `alt`, the panel, and a sheet by sample: sex, y, covariates and site."""

    calls: Calls
    panel: Panel
    sheet: pd.DataFrame

    def sites(self, folder: Path, **how: Any) -> list[Site]:
        """One for each number in the sheet's column `site`; see `site_of`."""
        wanted = sorted(self.sheet["site"].unique())
        return [self.site_of(folder, np.flatnonzero(self.sheet["site"] == number), number, **how) for number in wanted]

    def site_of(
        self,
        folder: Path,
        rows: npt.NDArray[np.int64],
        number: int,
        *,
        lacks: Mapping[int, Sequence[int]] | None = None,
        swapped: Mapping[int, Sequence[int]] | None = None,
        shuffled: bool = False,
        levels: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Site:
        """The DIZ with these samples, its .bed in the folder.

        Args:
            folder: For the file.
            rows: Which samples.
            number: The DIZ's, and its node.
            lacks: By DIZ, variants that its file does not have.
            swapped: By DIZ, variants whose A1 in its file is the panel's `ref`.
            shuffled: Whether the file has the samples, and the variants, in another order than the sheet.
            levels: Declared, of columns of the sheet.
        """
        p, rng = self.panel.size, np.random.default_rng(number)
        gone, turned = np.zeros((2, p), dtype=np.bool_)
        gone[list((lacks or {}).get(number, ()))] = True
        turned[list((swapped or {}).get(number, ()))] = True
        order = rng.permutation(len(rows)) if shuffled else np.arange(len(rows))
        there = np.flatnonzero(~gone)
        there = rng.permutation(there) if shuffled else there
        own = self.calls[rows[order]][:, there]
        own = np.where(turned[there] & (own >= 0), 2 - own, own)
        path = folder / f"site-{number}.bed"
        write_bed(path, own)
        place = np.full(p, -1, dtype=np.int64)
        place[there] = np.arange(len(there))
        harmony = np.where(gone, ABSENT, np.where(turned, SWAPPED, AS_IS)).astype(np.int8)
        back = np.argsort(order)
        sheet = self.sheet.iloc[rows]
        known = dict(levels or {})
        return Site(
            node=int(number),
            panel=self.panel,
            samples=len(rows),
            numbers={
                name: sheet[name].to_numpy(np.float64)
                for name in sheet.columns
                if name not in known and name not in ("site", "iid", "batch")
            },
            codes={name: _codes(sheet[name], of) for name, of in known.items()},
            levels=known,
            sex=sheet["sex"].to_numpy(np.int8),
            train=np.ones(len(rows), dtype=np.bool_),
            genotypes=Genotypes(path, len(rows), back, place, turned, harmony),
            patients=tuple(sheet["iid"]),
        )

    def write(self, stem: Path, covariates: Sequence[str] = ("age",)) -> Path:
        """The pooled data as PLINK 1 files, and ``.phe`` and ``.cov`` files; returns the stem."""
        write_bed(stem.with_suffix(".bed"), self.calls)
        panel = self.panel
        columns = zip(panel.chromosome, panel.id, panel.position, panel.alt, panel.ref, strict=True)
        stem.with_suffix(".bim").write_text(
            "".join(f"{c}\t{i}\t0\t{at}\t{alt}\t{ref}\n" for c, i, at, alt, ref in columns)
        )
        people = zip(self.sheet["iid"], self.sheet["sex"], strict=True)
        stem.with_suffix(".fam").write_text("".join(f"0\t{iid}\t0\t0\t{sex}\t-9\n" for iid, sex in people))
        frame = self.sheet.drop(columns="site").rename(columns={"iid": "#IID"})
        frame[["#IID", "y"]].to_csv(stem.with_suffix(".phe"), sep="\t", index=False, na_rep="NA")
        frame[["#IID", *covariates]].to_csv(stem.with_suffix(".cov"), sep="\t", index=False, na_rep="NA")
        return stem


def _codes(column: pd.Series, levels: tuple[str, ...]) -> npt.NDArray[np.int64]:
    return np.array([levels.index(word) if word in levels else -1 for word in column.astype(str)], dtype=np.int64)


def write_bed(path: Path, calls: Calls) -> None:
    """Calls (n, p) as copies of A1."""
    codes = np.array([0b01, 0b11, 0b10, 0b00], dtype=np.uint8)[calls.T.astype(np.int64) + 1]
    padded = np.zeros((codes.shape[0], -(-codes.shape[1] // 4) * 4), dtype=np.uint8)
    padded[:, : codes.shape[1]] = codes
    quads = padded.reshape(len(padded), -1, 4)
    packed = quads[..., 0] | quads[..., 1] << 2 | quads[..., 2] << 4 | quads[..., 3] << 6
    path.write_bytes(HEADER + packed.astype(np.uint8).tobytes())


def panel_of(chromosome: Sequence[int]) -> Panel:
    """Made-up variants with alleles A and G on these chromosomes."""
    size = len(chromosome)
    return Panel(
        name="made-up",
        title="Synthetic",
        origin="made up",
        build="made-up",
        chromosome=np.asarray(chromosome, dtype=np.uint8),
        position=np.arange(1, size + 1, dtype=np.int64) * 1000,
        ref=np.array(["A"] * size, dtype=np.object_),
        alt=np.array(["G"] * size, dtype=np.object_),
        alt_frequency=np.full(size, 0.5, dtype=np.float32),
        stored_ids=np.array([f"v{number}" for number in range(size)], dtype=np.object_),
    )


def made_up(
    samples: int,
    variants: int,
    seed: int,
    *,
    missing: float = 0.02,
    sites: int = 3,
    chromosome: Sequence[int] | None = None,
) -> Study:
    """Unrelated samples at unequal DIZ; the trait depends on age, on a batch and on the first variant."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.05, 0.95, variants)
    calls = rng.binomial(2, frequency, (samples, variants)).astype(np.int8)
    sex = rng.integers(1, 3, samples)
    codes = np.asarray(chromosome if chromosome is not None else np.sort(rng.integers(1, 4, variants)))
    haploid = (((codes == 23) | (codes == 24)) & (sex == 1)[:, None]) | (codes == 26)
    calls = np.where(haploid, 2 * (calls > 0), calls).astype(np.int8)
    age = np.round(rng.uniform(20, 80, samples), 1)
    batch = rng.integers(0, 3, samples)
    y = 100 + 0.05 * age + 0.4 * calls[:, 0] + 0.3 * batch + rng.normal(size=samples)
    calls[rng.random(calls.shape) < missing] = -1
    share = np.arange(1, sites + 1) / np.arange(1, sites + 1).sum()
    sheet = pd.DataFrame(
        {
            "iid": [f"S{row}" for row in range(samples)],
            "sex": sex,
            "y": np.round(y, 6),
            "age": age,
            "batch": np.array(["a", "b", "c"])[batch],
            "site": rng.choice(sites, samples, p=share),
        }
    )
    return Study(calls, panel_of(codes.tolist()), sheet)


def read_study(folder: Path) -> Study:
    """A frozen one: ``study.bed``, ``study.bim`` and the sheet ``study.tsv``."""
    sheet = pd.read_csv(folder / "study.tsv", sep="\t")
    chromosome = pd.read_csv(folder / "study.bim", sep="\t", header=None)[0].tolist()
    every, n = np.arange(len(chromosome), dtype=np.int64), len(sheet)
    codes = np.full(len(every), AS_IS, dtype=np.int8)
    genotypes = Genotypes(folder / "study.bed", n, np.arange(n), every, codes == ABSENT, codes)
    return Study(np.ascontiguousarray(genotypes.read(0, len(every))), panel_of(chromosome), sheet)


class SiteExchange:
    """An `Exchange` over DIZ in memory.

    Attributes:
        sites: Their numbers.
        history: What was asked.
        contents: With what content.
        replies: The answers of each exchange, by DIZ.
    """

    def __init__(self, sites: Sequence[Site], settings: Settings, answers: Mapping[str, Answer] = ANSWERS) -> None:
        self._sites, self._settings, self._answers = tuple(sites), settings, answers
        self.sites = tuple(site.node for site in sites)
        self.history: list[str] = []
        self.contents: list[Content] = []
        self.replies: list[dict[int, Arrays]] = []
        self.change: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda _, sums: sums

    def __call__(self, message_type: str, content: Content) -> Sums:
        """Ask every DIZ, and sum."""
        self.history.append(message_type)
        self.contents.append(content)
        config = {k: v for part in content.values() for k, v in part.items() if not isinstance(v, np.ndarray)}
        arrays = {k: v for part in content.values() for k, v in part.items() if isinstance(v, np.ndarray)}
        answer = self._answers[message_type.removeprefix("query.")]
        request = Request(config, arrays)
        replies = {site.node: answer(site, request, self._settings) for site in self._sites}
        self.replies.append(replies)
        return self.change(message_type, add_up(replies))


@dataclass(frozen=True, eq=False)
class MemoryHub(Hub):
    """A hub whose DIZ are in memory."""

    exchange: SiteExchange = field(kw_only=True)

    def fit(self, run: Callable[[Any], Any]) -> tuple[Any, tuple[int, ...]]:
        """Once: nobody is lost."""
        return run(self.exchange), self.exchange.sites


def hub_of(sites: Sequence[Site], settings: Settings, folder: Path) -> MemoryHub:
    """A hub over these DIZ."""
    exchange = SiteExchange(sites, settings)
    return MemoryHub(object(), exchange.sites, settings, sites[0].panel, 1, 1.0, folder, exchange=exchange)


def anew(hub: MemoryHub, sites: Sequence[Site]) -> MemoryHub:
    """The same run, started again."""
    return replace(hub, exchange=SiteExchange(sites, hub.settings))


def rows(associations: Any) -> pd.DataFrame:
    """All rows of all chunks, by place in the panel."""
    return pd.concat([pd.DataFrame(part) for part in associations.parts()]).set_index("index")


def program(name: str) -> str:
    """Where it is; skips where it is not installed (fails under FLAME_REQUIRE_ALL=1)."""
    found = shutil.which(name) or ""
    if not found:
        text = f"{name} is not installed: apt-get install {'plink' if name == 'plink1.9' else name}"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    return found


def plink(name: str, stem: Path, *arguments: str) -> None:
    """Run PLINK over a study's files; its results have the same stem."""
    command = [program(name), "--bfile", str(stem), "--out", str(stem), "--threads", "1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def read_plink(path: Path) -> pd.DataFrame:
    """One of its tables."""
    return pd.read_csv(path, sep=r"\s+", dtype={"#CHROM": str, "ID": str, "#IID": str, "IID": str})
