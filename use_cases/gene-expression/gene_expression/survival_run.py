"""Survival from expression, as the hub runs it: Cox's regression, or a penalised discrete-time model.

1. `screen_run` chooses genes by Cox's score in the training samples: `cox_select` for Cox's regression, which is
   unpenalised, `select` for the discrete-time model.
2. Cox: `flame_strategies.cox.fit_cox` on the declared grid, equal to the pooled fit of times rounded up to it, with
   Breslow's or Efron's ties; or with a baseline hazard for each DIZ. Discrete time: logistic regression of the event in
   a period on genes and clinical columns by `fit_glm_path`, the logit of the baseline hazard being linear in time and
   its logarithm, as far as there are periods for it; clinical columns and baseline unpenalised.
3. The outer cross-validation repeats both on each training set, by patients or by groups of DIZ, and counts the samples
   held out by time, event and bin of the score (concordance), and by time, event and side of the training samples'
   mean score (Kaplan-Meier by risk). The log-rank test of those two curves takes risk groups as given, although models
   of overlapping training sets made them: read its p as a description (Subramanian and Simon, Brief. Bioinform. 12,
   2011).
4. Samples marked as test are scored with the model of all training samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from flame_strategies.cox import CoxFit, fit_cox
from flame_strategies.errors import UnusableReply
from flame_strategies.glm_elastic_net import GlmPath, fit_glm_path
from flame_strategies.sums import Content, Exchange

from gene_expression.by_site import Answers, Ask
from gene_expression.classify_run import POINTS_PER_REQUEST, within
from gene_expression.errors import InputError
from gene_expression.screen_run import Screened, screen_times
from gene_expression.site_rows import GENE, PERIOD
from gene_expression.stability import Stability, stability
from gene_expression.survival_model import RiskModel, RiskScores, SurvivalSettings
from gene_expression.validation import Population

Int = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SurvivalResult:
    """What a survival analysis found.

    Attributes:
        settings: Its own.
        model: Of all training samples.
        screen: In all training samples.
        overall: (2, T + 1) all samples without and with event, by time.
        overall_by_site: The same by DIZ; empty where answers are masked.
        validation: Over the samples held out of all outer folds; None without.
        by_fold: The same by fold.
        test: Over the test samples; None if there are none.
        stability: Of the screen; None without halves.
    """

    settings: SurvivalSettings
    model: RiskModel
    screen: Screened
    overall: Int
    overall_by_site: Mapping[str, Int]
    validation: RiskScores | None
    by_fold: tuple[RiskScores, ...]
    test: RiskScores | None
    stability: Stability | None


def run_survival(
    exchange: Exchange,
    settings: SurvivalSettings,
    genes: Sequence[str],
    *,
    sites: Sequence[int] = (),
    ask: Ask | None = None,
) -> SurvivalResult:
    """Screen, fit, validate, and score the test samples.

    Args:
        exchange: Asks all sites and returns sums.
        settings: What and how.
        genes: Ids that the screen chooses from.
        sites: Flower's ids of the DIZ, for groups of them; those of the exchange if it knows them.
        ask: Asks the same with answers by DIZ; without it there is nothing by DIZ.
    """
    whole = Population()
    screened, times = screen_times(exchange, genes, settings.words, settings.times, whole)
    outer = settings.outer(tuple(sites) or tuple(getattr(exchange, "sites", ())))
    model = fit_risk(exchange, settings, choose(screened, settings, 0), whole, times["events"][0])
    by_fold = []
    if outer is not None:
        found, times = screen_times(exchange, genes, settings.words, settings.times, outer)
        for fold in range(outer.count):
            top, events = choose(found, settings, fold), times["events"][fold]
            fitted = fit_risk(exchange, settings, top, outer.one(fold), events)
            by_fold.append(score_risk(exchange, settings, fitted, outer.one(fold, held_out=True)))
    test: RiskScores | None = score_risk(exchange, settings, model, Population(split="test"))
    overall = _overall(exchange, ask, settings)
    halves = None
    if settings.stability:
        population = Population("halves", seed=settings.seed, count=settings.stability)
        repeated, _ = screen_times(exchange, genes, settings.words, settings.times, population)
        halves = stability(genes, [repeated.top(b, settings.chosen) for b in range(settings.stability)])
    return SurvivalResult(
        settings=settings,
        model=model,
        screen=screened,
        overall=np.asarray(overall.total["counts"][0], dtype=np.int64),
        overall_by_site={name: np.asarray(part["counts"][0]) for name, part in overall.by_site.items()},
        validation=_total(by_fold),
        by_fold=tuple(by_fold),
        test=test if test is not None and test.counts.any() else None,
        stability=halves,
    )


def choose(screened: Screened, settings: SurvivalSettings, index: int) -> tuple[str, ...]:
    """The genes that set `index` hands on, in the panel's order.

    Raises:
        InputError: No gene is eligible.
    """
    top = set(screened.top(index, settings.chosen))
    if not top:
        raise InputError("No gene was measured in all samples and varies; check the panel, and the missing values.")
    return tuple(gene for gene in screened.genes if gene in top)


def fit_risk(
    exchange: Exchange, settings: SurvivalSettings, genes: Sequence[str], population: Population, events: Int
) -> RiskModel:
    """Fit the settings' model on one set of samples.

    Args:
        exchange: Asks all sites and returns sums.
        settings: Which model.
        genes: Its genes.
        population: One set of samples.
        events: (T,) events by time among them.
    """
    design = settings.design(genes)
    about = within(exchange, {"phenotype": settings.words, "of": population.content()})
    sums = about("query.cox_moments", {"design": {**design.content(), "event": settings.event}})
    n = max(int(sums["n"][0]), 1)
    centre = sums["sum_x"] / n
    deviation = np.sqrt(np.maximum(sums["sum_xx"] / n - centre**2, 0.0))
    fit: CoxFit | GlmPath
    if settings.model == "cox":
        grid = () if settings.strata_by_site else settings.times
        strata = settings.strata_by_site
        fit = fit_cox(about, design, settings.event, grid=grid, ties=settings.ties, strata_by_site=strata)
        coefficients = np.asarray(fit.coefficients.estimate)
    else:
        fit = fit_discrete(exchange, settings, genes, population, events)
        named = dict(zip(fit.terms, fit.coefficients[fit.best_one_se].tolist(), strict=True))
        coefficients = np.array([named[name] for name in design.columns])
    spread = float(np.sqrt(((coefficients * deviation) ** 2).sum())) or 1.0
    return RiskModel(design, coefficients, centre, spread, fit)


def fit_discrete(
    exchange: Exchange, settings: SurvivalSettings, genes: Sequence[str], population: Population, events: Int
) -> GlmPath:
    """The path of the discrete-time model on one set of samples; see `fit_risk`."""
    kept = np.flatnonzero(events)
    baseline = (f"{PERIOD}:time", f"{PERIOD}:log")[: max(len(kept) - 1, 0)]
    design = settings.design(genes)
    design = replace(design, outcome=f"{PERIOD}:event", numeric=(*design.numeric, *baseline), intercept=True)
    q = len(design.terms)
    return fit_glm_path(
        discrete(exchange, settings, population, kept),
        design,
        "logistic",
        l1_ratio=settings.l1_ratio,
        num_lambdas=settings.penalties,
        folds=settings.folds,
        penalty_factors=[float(name.startswith(GENE)) for name in design.columns],
        points_per_request=max(1, min(POINTS_PER_REQUEST, 2_000_000 // (q * (q + 1)))),
    )


def discrete(exchange: Exchange, settings: SurvivalSettings, population: Population, kept: Int) -> Exchange:
    """An exchange about the person-periods of one set of samples; for `fit_discrete`, or `fit_glm` with ``period``."""
    return within(
        exchange,
        {
            "phenotype": {**settings.words, "discrete": True},
            "of": population.content(),
            "times": {"grid": settings.times, "kept": kept.astype(np.int64)},
        },
    )


def score_risk(exchange: Exchange, settings: SurvivalSettings, model: RiskModel, population: Population) -> RiskScores:
    """Counts of a model's scores on one set of samples. 2 exchanges."""
    content = {
        "design": model.design.content(),
        "phenotype": settings.words,
        "of": population.content(),
        "times": {"grid": settings.times},
        "model": model.content(settings.bins),
    }
    counts = exchange("query.survival_scores", content)["counts"]
    groups = exchange("query.survival_curve", content)["counts"]
    wanted = (2, len(settings.grid) + 1, settings.bins), (2, 2, len(settings.grid) + 1)
    if (counts.shape, groups.shape) != wanted:
        raise UnusableReply(f"The sites answer counts of {counts.shape} and {groups.shape}, not {wanted}.")
    return RiskScores(np.asarray(counts, dtype=np.int64), np.asarray(groups, dtype=np.int64))


def _overall(exchange: Exchange, ask: Ask | None, settings: SurvivalSettings) -> Answers:
    content: Content = {
        "phenotype": settings.words,
        "of": Population(split="all").content(),
        "times": {"grid": settings.times},
    }
    answers = ask("query.survival_curve", content) if ask else None
    if answers is None or not answers.total:
        return Answers(exchange("query.survival_curve", content), {}, 1, 0)
    return answers


def _total(parts: Sequence[RiskScores]) -> RiskScores | None:
    found = None
    for part in parts:
        found = part if found is None else found + part
    return found
