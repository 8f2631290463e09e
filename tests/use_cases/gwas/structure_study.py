"""A synthetic study with populations and families, and how much tests are inflated by them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from gwas import site_ld, site_pca, site_ridge
from gwas.settings import Settings
from gwas.site import Site

from tests.use_cases.gwas import plink_files
from tests.use_cases.gwas.plink_files import SiteExchange, Study, panel_of

ANSWERS = {**plink_files.ANSWERS, **site_ld.ANSWERS, **site_pca.ANSWERS, **site_ridge.ANSWERS}

CHI_SQUARED_MEDIAN = 0.4549364231195724


@dataclass(frozen=True, eq=False)
class Checked:
    """Stands in for `Quality`: all variants passed."""

    passed: npt.NDArray[np.bool_]
    alt_frequency: npt.NDArray[np.float64]
    sites: npt.NDArray[np.int16]
    missing: npt.NDArray[np.float64]
    nodes: tuple[int, ...] = ()
    fingerprint: str = ""


def checked(calls: npt.NDArray[np.int8], sites: int = 5) -> Checked:
    """What the quality control finds in pooled calls where no variant is bad."""
    called = calls >= 0
    frequency = np.where(called, calls, 0).sum(axis=0) / np.maximum(2 * called.sum(axis=0), 1)
    p = calls.shape[1]
    missing = (~called).mean(axis=0)
    return Checked(np.ones(p, dtype=bool), frequency, np.full(p, sites, dtype=np.int16), missing)


def structured(
    *,
    families: int,
    children: int,
    variants: int,
    seed: int,
    fst: float = 0.0,
    shift: float = 0.0,
    heritability: float = 0.5,
    causal: int = 50,
    chromosomes: int = 10,
    missing: float = 0.0,
    sites: int = 5,
) -> tuple[Study, npt.NDArray[np.bool_]]:
    """Families of siblings from two populations, dealt out to DIZ by family; and which variants are causal.

    Args:
        families: How many.
        children: Of each; parents are not in the study.
        variants: Unlinked.
        seed: Of everything.
        fst: Of the two populations (Balding and Nichols, Genetica 96, 1995).
        shift: Of the trait's mean in the second one, in standard deviations.
        heritability: Of the trait within populations.
        causal: Variants that it rests on.
        chromosomes: As many variants on each.
        missing: Share of calls.
        sites: DIZ.
    """
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.1, 0.9, variants)
    spread = (1 - fst) / fst if fst else 0
    drifted = [rng.beta(base * spread, (1 - base) * spread) if fst else base for _ in range(2)]
    population = rng.integers(0, 2, families)
    parents = rng.random((2, 2, families, variants), dtype=np.float32) < np.stack(drifted)[population]
    family = np.repeat(np.arange(families), children)
    calls = np.zeros((len(family), variants), dtype=np.int8)
    for parent in parents:
        first = rng.random((len(family), variants), dtype=np.float32) < 0.5
        calls += np.where(first, parent[0][family], parent[1][family])
    chosen = np.zeros(variants, dtype=bool)
    chosen[rng.choice(variants, causal, replace=False)] = True
    value = (calls[:, chosen] - calls[:, chosen].mean(axis=0)) @ rng.normal(size=causal)
    of_second = population[family] == 1
    for group in (of_second, ~of_second):
        value[group] -= value[group].mean() if group.any() else 0
    age = np.round(rng.uniform(20, 80, len(family)), 1)
    y = np.sqrt(heritability) * value / value.std() + np.sqrt(1 - heritability) * rng.normal(size=len(family))
    y += shift * of_second + 0.01 * age
    calls[rng.random(calls.shape, dtype=np.float32) < missing] = -1
    site = rng.permutation(np.arange(families) % sites)
    site = np.where(rng.random(families) < 0.5, np.where(population == 1, site % 2, site), site)  # uneven mixtures
    sheet = pd.DataFrame(
        {
            "iid": [f"S{row}" for row in range(len(family))],
            "sex": rng.integers(1, 3, len(family)),
            "y": np.round(y, 6),
            "age": age,
            "site": site[family],
        }
    )
    return Study(calls, panel_of(np.sort(np.arange(variants) % chromosomes + 1).tolist()), sheet), chosen


def exchange_of(sites: list[Site], settings: Settings) -> SiteExchange:
    """Asks the DIZ anything about structure."""
    return SiteExchange(sites, settings, ANSWERS)


def standardised(
    calls: npt.NDArray[np.int8], variants: Any, of_site: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float64]:
    """(n, m) the pooled matrix of `ld_run.Common` variants, a missing call being its DIZ's most frequent one."""
    own = calls[:, variants.index].astype(np.float64)
    for number in np.unique(of_site) if of_site is not None else ():
        mine = own[of_site == number]
        often = np.stack([(mine == copies).sum(axis=0) for copies in range(3)]).argmax(axis=0)
        own[of_site == number] = np.where(mine < 0, often, mine)
    assert (own >= 0).all()
    return np.asarray((own - variants.mean) / variants.scale)


def inflation(t: npt.NDArray[np.float64]) -> float:
    """Lambda GC of t statistics of many samples."""
    return float(np.median(t**2) / CHI_SQUARED_MEDIAN)
