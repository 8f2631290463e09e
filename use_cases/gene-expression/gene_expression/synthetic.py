"""Synthetic cohorts: values, patients and DIZ are made up from start to end, and called synthetic wherever they appear.

A gene's log2 expression is a mean of its own, plus an effect of the group for one gene in ten, of age for another one
in ten, a shift and a stretch of the DIZ's batch, and noise whose variance differs between genes (a scaled inverse
chi-squared, as limma's prior has it). Counts are negative binomial around the same means, with a library size for each
sample. Cases are rarer at the first DIZ than at the last. Survival times are exponential, with a hazard that rises with
age and with the first five genes that the group changes, censored at a fixed follow-up.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gene_expression.table import COUNTS

Float = npt.NDArray[np.float64]

GENES = 2000
SAMPLES = 240

_PRIOR_DF, _PRIOR_VARIANCE = 6.0, 0.12
_EFFECT, _AGE_EFFECT = 0.9, 0.02
_SHIFT, _STRETCH = 0.7, 0.12
_DISPERSION = 0.15
_FOLLOW_UP = 3000.0


@dataclass(frozen=True, eq=False)
class Cohort:
    """A made-up study.

    Attributes:
        values: Samples x genes: logarithms of base 2, or counts; index = sample ids.
        samples: One row per sample: sample_id, patient_id, group, sex, age, time (days), died.
        site: (n,) the DIZ of each sample, from 0.
        changed: (genes,) whether the group changes the gene.
    """

    values: pd.DataFrame
    samples: pd.DataFrame
    site: npt.NDArray[np.intp]
    changed: npt.NDArray[np.bool_]


def gene_names(count: int = GENES) -> list[str]:
    """Ids that no annotation knows: SYN00001 and so on."""
    return [f"SYN{number:05d}" for number in range(1, count + 1)]


def make(scale: str, *, nodes: int, seed: int, samples: int = SAMPLES, genes: int = GENES) -> Cohort:
    """Draw one study.

    Args:
        scale: `COUNTS` for RNA-Seq, anything else for logarithms.
        nodes: DIZ; the last one has about twice as many samples as the first.
        seed: Of everything.
        samples: n, over all DIZ.
        genes: G.
    """
    generator = np.random.default_rng([seed, nodes, samples, genes, int(scale == COUNTS)])
    shares = np.cumsum(np.linspace(1.0, 2.0, nodes))
    site = np.searchsorted(shares[:-1] / shares[-1] * samples, np.arange(samples), side="right").astype(np.intp)
    case = generator.random(samples) < 0.25 + 0.5 * (site + 0.5) / nodes
    age = np.clip(generator.normal(50 + 12 * (site + 0.5) / nodes, 12), 18, 90).round()
    changed = generator.random(genes) < 0.1
    aged = generator.random(genes) < 0.1
    effect = changed * generator.normal(0, _EFFECT, genes)
    means = generator.normal(7, 2, genes) + np.outer(case, effect) + np.outer(age - 55, aged * _AGE_EFFECT)
    shift = generator.normal(0, _SHIFT, (nodes, genes))
    variance = _PRIOR_VARIANCE * _PRIOR_DF / generator.chisquare(_PRIOR_DF, genes)
    noise = generator.normal(0, np.sqrt(variance), (samples, genes))
    stretch = np.exp(generator.normal(0, _STRETCH, nodes))
    logs = means + shift[site] + stretch[site][:, None] * noise
    ids = [f"synthetic-{number:05d}" for number in range(1, samples + 1)]
    sheet = pd.DataFrame({"sample_id": ids, "patient_id": ids})
    sheet["group"] = np.where(case, "case", "control")
    sheet["sex"] = np.where(generator.random(samples) < 0.5, "female", "male")
    sheet["age"] = age
    sheet["time"], sheet["died"] = _survival(means[:, np.flatnonzero(changed)[:5]], age, generator)
    values = _counts(logs, generator) if scale == COUNTS else logs
    return Cohort(
        pd.DataFrame(values, index=pd.Index(ids, name="sample_id"), columns=gene_names(genes)), sheet, site, changed
    )


def _counts(logs: Float, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Negative binomial counts with a library size for each sample; some genes are hardly expressed."""
    share = np.exp2(logs - 4.0)
    share /= share.sum(axis=1, keepdims=True)
    library = generator.lognormal(np.log(2e6), 0.4, len(logs))
    mean = np.maximum(share * library[:, None], 1e-8)
    size = 1.0 / _DISPERSION
    return generator.negative_binomial(size, size / (size + mean)).astype(np.int64)


def _survival(signal: Float, age: Float, generator: np.random.Generator) -> tuple[Float, npt.NDArray[np.int64]]:
    """Days, rounded up, and whether the event happened before the end of the follow-up."""
    spread = signal.std(axis=0)
    score = ((signal - signal.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).sum(axis=1)
    hazard = np.exp(0.4 * score + 0.02 * (age - 55)) / 1500.0
    time = generator.exponential(1.0 / hazard)
    died = (time <= _FOLLOW_UP).astype(np.int64)
    return np.ceil(np.minimum(time, _FOLLOW_UP)), died
