"""A polygenic score, as the hub trains and evaluates it: from sums over all DIZ, equal to the pooled one.

1. The linear scan of the training samples (`linear_run`), whatever the phenotype: a disease is 0 or 1.
2. Candidates: autosomal variants with p of at most ``score-p``, clumped by squared correlation (``score-r2``) and
   distance (``score-kb``) of the training samples, the `MOST_VARIANTS` clearest of them.
3. Weights: ridge regression or the lasso on the sums of products by fold; folds of patients choose the penalty. The
   scan has seen all folds, so that the cross-validated error is too good; the test samples' is not.
4. Evaluation on the test samples, in whom nothing was chosen.

Files besides those of a scan of the training samples: ``model.json`` with ``model.safetensors`` for
`python -m gwas score`, and ``score.txt``, a scoring file as the PGS Catalog has them.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.errors import StrategyError
from flame_strategies.polygenic import FoldProducts, fit_ridge, fit_sparse
from flame_strategies.sums import Exchange

from gwas import linear_run, output, score_output
from gwas.by_site import ask_each
from gwas.clumping import Clump, best, clump
from gwas.hub import Hub
from gwas.moments_run import HasArrays, moments
from gwas.panel import Panel
from gwas.polygenic_score import Score
from gwas.quality_rules import Quality
from gwas.results import Associations, Outcome
from gwas.score_evaluation import evaluation
from gwas.settings import Settings
from gwas.site_scaled import weighable
from gwas.site_score import MOST_LD, MOST_VARIANTS
from gwas.two_step_run import HIDDEN

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

MOST_CANDIDATES = 10_000
"""Variants that are clumped, those with the least p."""


def run(hub: Hub, quality: Quality, components: Any) -> Outcome:
    """Train and evaluate a score.

    Raises:
        StrategyError: No variant is below the threshold, or none varies.
    """
    associations = linear_run.run(hub, quality, components)
    scan = output.write(hub, quality, components, associations)
    score, sites = hub.fit(lambda exchange: _train(hub, exchange, (quality, components, associations)))
    ask = ask_each(hub.grid, sites, hub.timeout)
    found = evaluation(ask, score.null, score.fit, (score.index, score.mean))
    score_output.write(hub, score)
    return score_output.outcome(hub, scan, score, found, sites)


def _train(hub: Hub, exchange: Exchange, of: tuple[Quality, HasArrays | None, Associations]) -> Score:
    quality, components, associations = of
    settings = hub.settings
    begun = len(getattr(exchange, "history", ()))
    null = moments(exchange, settings, components)
    index, p = candidates(associations, hub.panel, quality, settings)
    mean = 2 * quality.alt_frequency[index]
    clumps = clumped(exchange, hub.panel, settings, (index, p, mean))
    chosen = np.sort(np.array([of.lead for of in clumps[:MOST_VARIANTS]], dtype=np.int64))
    answer = exchange(
        "query.score_moments", {"score": {"index": index[chosen], "mean": mean[chosen]}, "design": dict(null.arrays)}
    )
    if not answer["zz"].any():
        raise StrategyError(HIDDEN)
    products = FoldProducts(
        zz=answer["zz"][0],
        zy=answer["zy"][0],
        yy=answer["yy"][0],
        xz=np.moveaxis(answer["xz"], 2, 0),
        xy=np.moveaxis(answer["xy"], 1, 0),
        xx=np.moveaxis(answer["xx"], 2, 0),
    )
    fit = fit_ridge(products) if settings.score_model == "ridge" else fit_sparse(products)
    weighted = fit.weights != 0
    if not weighted.any():
        raise StrategyError(
            "No variant improves on the covariates, so the score is empty; raise score-p, or take score-model = ridge."
        )
    kept = chosen[weighted]
    return Score(
        index=index[kept],
        mean=mean[kept],
        weights=fit.weights[weighted] * null.y_scale,
        covariates=fit.covariates * null.y_scale + np.eye(1, null.q)[0] * null.y_centre,
        candidates=len(index),
        clumps=len(clumps),
        fit=fit,
        null=null,
        products=products,
        exchanges=len(getattr(exchange, "history", ())) - begun,
    )


def candidates(associations: Associations, panel: Panel, quality: Quality, settings: Settings) -> tuple[Int, Float]:
    """Places and -log10 p of the variants below the threshold that may take weights, in the panel's order.

    Raises:
        StrategyError: There is none.
    """
    table = best(associations, (), max(settings.score_p, 1e-300), MOST_CANDIDATES)
    index = table["index"].astype(np.int64)
    kept = weighable(panel, settings)[index] & np.isfinite(quality.alt_frequency[index])
    kept &= quality.sites[index] == quality.sites.max(initial=0)
    if not kept.any():
        raise StrategyError(
            f"No variant that is common in the panel and at all DIZ has p of at most {settings.score_p:g}; raise "
            "score-p."
        )
    return index[kept], table["log10p"][kept]


def clumped(exchange: Exchange, panel: Panel, settings: Settings, of: tuple[Int, Float, Float]) -> list[Clump]:
    """Clumps of candidates, the clearest first, by the training samples' squared correlations.

    Args:
        exchange: Asks all DIZ and returns sums.
        panel: The panel.
        settings: The run's limits.
        of: (m,) places, -log10 p and means of the candidates.
    """
    index, p, mean = of
    chromosome, position = panel.chromosome[index], panel.position[index]
    found: list[Clump] = []
    for block in blocks(chromosome, position, p, settings.score_kb):
        xx = exchange("query.score_ld", {"score": {"index": index[block], "mean": mean[block]}})["xx"]
        diagonal = np.diagonal(xx)
        hidden = diagonal <= 0  # too few carry it: it cannot be in a score
        scale = np.sqrt(np.where(hidden, np.inf, diagonal))
        square = (xx / scale / scale[:, None]) ** 2
        shown = np.flatnonzero(~hidden)
        rows = block[shown]
        square = square[np.ix_(shown, shown)]
        part = clump(
            chromosome[rows],
            position[rows],
            p[rows],
            kb=settings.score_kb,
            r2=settings.score_r2,
            correlation=lambda lead, near, square=square: square[lead, near],  # type: ignore[misc]
        )
        found += [Clump(int(rows[one.lead]), tuple(rows[list(one.members)].tolist())) for one in part]
    return sorted(found, key=lambda one: -p[one.lead])


def blocks(chromosome: npt.NDArray[Any], position: Int, p: Float, kb: float, most: int = MOST_LD) -> list[Int]:
    """Rows in blocks of at most `most` for one message, none of them with a neighbour in another block.

    Of more than `most` variants that hang together by less than `kb` from one to the next, the clearest are taken.
    """
    apart = (np.diff(chromosome.astype(np.int64)) != 0) | (np.diff(position) > 1000 * kb)
    runs = np.split(np.arange(len(position)), np.flatnonzero(apart) + 1)
    found: list[Int] = []
    for run_ in runs:
        rows = run_ if len(run_) <= most else np.sort(run_[np.argsort(-p[run_], kind="stable")[:most]])
        if found and len(found[-1]) + len(rows) <= most:
            found[-1] = np.concatenate([found[-1], rows])
        else:
            found.append(rows)
    return found
