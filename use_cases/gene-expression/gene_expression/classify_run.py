"""Classification from expression, as the hub runs it: elastic-net logistic regression, equal to the pooled one.

1. `screen_run` chooses the `select` genes with the largest |t| in the training samples.
2. `flame_strategies.glm_elastic_net.fit_glm_path` fits their path, clinical columns unpenalised, and takes the largest
   penalty within one standard error of the least deviance of a cross-validation by patients.
3. The outer cross-validation repeats both on each training set, by patients or by groups of DIZ, and counts the scores
   of the samples held out. The inner one of step 2 sees genes that were chosen on all of its folds; it chooses the
   penalty, and measures nothing.
4. Samples marked as test are scored with the model of all training samples; by DIZ where answers can be read.

With two classes there is one model, of the second; with more there is one for each class against the others, and the
most probable is predicted. Counts of scores are over declared bins of the probability; see `curves` for what is lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flame_strategies.glm_elastic_net import fit_glm_path
from flame_strategies.sums import Content, Exchange, Sums

from gene_expression.by_site import Answers, Ask
from gene_expression.classify_model import ClassifySettings, ClassModel, Scores
from gene_expression.errors import InputError
from gene_expression.screen_run import Screened, screen_classes
from gene_expression.site_rows import GENE
from gene_expression.stability import Stability, stability
from gene_expression.validation import Population

POINTS_PER_REQUEST = 64
"""Problems in one answer of a path at most; the release contract states the same number."""

_NUMBERS_PER_ANSWER = 1_000_000
"""In the packed Hessians of one answer, about."""


TEST = Population(split="test")


@dataclass(frozen=True, eq=False)
class ClassifyResult:
    """What a classification found.

    Attributes:
        settings: Its own.
        model: Of all training samples.
        screens: By class that is scored: the screen in all training samples.
        validation: Scores of the samples held out, over all outer folds; None without.
        by_fold: The same by fold.
        test: Scores of the test samples; None if nobody answered or there are none.
        test_by_site: By DIZ; empty where answers are masked.
        stability: By class that is scored; empty without halves.
    """

    settings: ClassifySettings
    model: ClassModel
    screens: Mapping[str, Screened]
    validation: Scores | None
    by_fold: tuple[Scores, ...]
    test: Scores | None
    test_by_site: Mapping[str, Scores]
    stability: Mapping[str, Stability] = field(default_factory=dict)


def run_classify(
    exchange: Exchange,
    settings: ClassifySettings,
    genes: Sequence[str],
    *,
    sites: Sequence[int] = (),
    ask: Ask | None = None,
) -> ClassifyResult:
    """Screen, fit, validate, and score the test samples.

    Args:
        exchange: Asks all sites and returns sums.
        settings: What and how.
        genes: Ids that the screen chooses from.
        sites: Flower's ids of the DIZ, for groups of them; those of the exchange if it knows them.
        ask: Asks the same with answers by DIZ; without it the test samples are scored over all DIZ only.
    """
    whole = Population()
    screens = screen(exchange, settings, genes, whole)
    outer = settings.outer(tuple(sites) or tuple(getattr(exchange, "sites", ())))
    model = fit_classes(exchange, settings, choose(screens, settings, 0), whole)
    by_fold = []
    if outer is not None:
        found = screen(exchange, settings, genes, outer)
        for fold in range(outer.count):
            fitted = fit_classes(exchange, settings, choose(found, settings, fold), outer.one(fold))
            content = scoring(settings, fitted, outer.one(fold, held_out=True))
            by_fold.append(Scores.of(settings.scored, exchange("query.classify_scores", content)))
    test, by_site = score_test(exchange, ask, "query.classify_scores", settings, scoring(settings, model, TEST))
    halves = repeat_screen(exchange, settings, genes) if settings.stability else {}
    return ClassifyResult(settings, model, screens, total(by_fold), tuple(by_fold), test, by_site, halves)


def screen(
    exchange: Exchange, settings: ClassifySettings, genes: Sequence[str], population: Population
) -> dict[str, Screened]:
    """By class that is scored, the screen in each of the population's sets."""
    return {level: screen_classes(exchange, genes, settings.words, level, population) for level in settings.scored}


def choose(screens: Mapping[str, Screened], settings: ClassifySettings, index: int) -> dict[str, tuple[str, ...]]:
    """By class, the genes that set `index` hands on, in the panel's order.

    Raises:
        InputError: No gene is eligible.
    """
    chosen = {level: found.top(index, settings.select) for level, found in screens.items()}
    if not all(chosen.values()):
        raise InputError("No gene was measured in all samples and varies; check the panel, and the missing values.")
    place = {gene: index for index, gene in enumerate(next(iter(screens.values())).genes)}
    return {level: tuple(sorted(top, key=place.__getitem__)) for level, top in chosen.items()}


def fit_classes(
    exchange: Exchange, settings: ClassifySettings, genes: Mapping[str, Sequence[str]], population: Population
) -> ClassModel:
    """One penalised path for each class that is scored, on one set of samples."""
    about = within(exchange, {"phenotype": settings.words, "of": population.content()})
    paths = []
    for level in settings.scored:
        design = settings.design(level, genes[level])
        q = len(design.terms)
        paths.append(
            fit_glm_path(
                about,
                design,
                "logistic",
                l1_ratio=settings.l1_ratio,
                num_lambdas=settings.penalties,
                folds=settings.folds,
                penalty_factors=[float(name.startswith(GENE)) for name in design.columns],
                points_per_request=max(1, min(POINTS_PER_REQUEST, _NUMBERS_PER_ANSWER * 2 // (q * (q + 1)))),
            )
        )
    named = [dict(zip(path.terms, path.coefficients[path.best_one_se].tolist(), strict=True)) for path in paths]
    used = dict.fromkeys(gene for level in settings.scored for gene in genes[level])
    design = settings.design(settings.scored[0], tuple(used))
    coefficients = np.array([[terms.get(name, 0.0) for name in design.terms] for terms in named])
    return ClassModel(settings.scored, design, coefficients, tuple(paths))


def scoring(settings: ClassifySettings, model: ClassModel, population: Population) -> Content:
    """The message that asks for counts of a model's scores."""
    return {
        "design": model.design.content(),
        "phenotype": {**settings.words, "scored": list(settings.scored)},
        "of": population.content(),
        "model": {"coefficients": model.coefficients, "cuts": settings.cuts},
    }


def score_test(
    exchange: Exchange, ask: Ask | None, message_type: str, settings: ClassifySettings, content: Content
) -> tuple[Scores | None, dict[str, Scores]]:
    """Scores of the test samples, and by DIZ where answers can be read; None if there are no test samples."""
    answers = ask(message_type, content) if ask else Answers(exchange(message_type, content), {}, 1, 0)
    if not answers.total:
        return None, {}
    test = Scores.of(settings.scored, answers.total)
    by_site = {name: Scores.of(settings.scored, arrays) for name, arrays in answers.by_site.items()}
    return (test, {name: scores for name, scores in by_site.items() if scores.samples}) if test.samples else (None, {})


def repeat_screen(exchange: Exchange, settings: ClassifySettings, genes: Sequence[str]) -> dict[str, Stability]:
    """How often each gene is among the screen's choice, on halves of the training patients."""
    halves = Population("halves", seed=settings.seed, count=settings.stability)
    found = screen(exchange, settings, genes, halves)
    return {
        level: stability(genes, [screened.top(b, settings.select) for b in range(settings.stability)])
        for level, screened in found.items()
    }


def total(parts: Sequence[Scores]) -> Scores | None:
    """Their sum; None of none."""
    found = None
    for part in parts:
        found = part if found is None else found + part
    return found


def within(exchange: Exchange, records: Content) -> Exchange:
    """An exchange whose every message also brings these records."""

    def ask(message_type: str, content: Content) -> Sums:
        return exchange(message_type, {**records, **content})

    return ask
