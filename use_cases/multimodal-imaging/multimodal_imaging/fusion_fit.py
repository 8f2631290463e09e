"""Fits of the fused model, and its measurement, as conversations with all DIZ: equal to those of the pooled patients.

1. If the run config harmonises: ComBat's pooled part (`flame_strategies.combat`).
2. Means and spreads of the observed values, two exchanges.
3. If it imputes: for each modality that is lacking somewhere, a ridge regression on the others, of the patients who
   have it, from the moments of step 4 over them; penalty by the same cross-validation.
4. Moments of the design by fold of patients. A number's ridge regression needs no more; for classes
   `flame_strategies.multinomial` asks for gradients.
5. Calibration, by scores of training patients under the models without their folds.

Centre, scale and imputation are of the whole training set, also where a fold is left out of it to choose the penalty:
they read no outcome. What measures a model is outside its training set altogether (`validation`).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from flame_strategies.block_cox import fit_cox_path
from flame_strategies.block_fusion import BlockMoments, BlockScaling, ask_blocks, pooled_scaling, ridge_path
from flame_strategies.combat import fit_combat
from flame_strategies.multinomial import fit_class_path
from flame_strategies.sums import Content, Exchange

from multimodal_imaging.calibration import fit_mend
from multimodal_imaging.errors import InputError
from multimodal_imaging.fusion_model import ClassScores, Fused, RankScores, Scores, ValueScores
from multimodal_imaging.settings import Settings
from multimodal_imaging.validation import Population

MOMENTS, BLOCK, GRADIENT, COMBAT = "query.mm_moments", "query.mm_block", "query.mm_gradient", "query.mm_combat"
TIMES, COX = "query.mm_times", "query.mm_cox"
FEWEST = 10
"""Patients with a modality, and of a class; a sum over fewer is nearly theirs."""


class Counter:
    """An `Exchange` that counts."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.count = 0

    def __call__(self, message_type: str, content: Content) -> "dict[str, np.typing.NDArray[np.generic]]":
        """Ask all DIZ."""
        self.count += 1
        return dict(self._exchange(message_type, content))


def harmonised(exchange: Exchange, settings: Settings, population: Population) -> Content:
    """The records by which every DIZ harmonises itself; none where the run config does not harmonise."""
    if settings.harmonise != "combat":
        return {}
    found = fit_combat(exchange, {"of": population.content()}, query=COMBAT)
    return {"combat": found.content()}


def fit(
    exchange: Exchange,
    settings: Settings,
    population: Population,
    *,
    view: str = "all",
    records: Content | None = None,
    calibrate: bool = True,
    penalty: float | None = None,
) -> Fused:
    """Fit the model of the run config to a training set.

    Args:
        exchange: Asks all DIZ and returns sums.
        settings: What and how.
        population: The training set.
        view: Of the columns and patients; see `views`.
        records: What messages bring besides: harmonisation, the modalities' own models. None: harmonises if it is to.
        calibrate: Whether to calibrate, if the run config does.
        penalty: In place of the choice.

    Raises:
        InputError: There are too few patients of a class, or with a modality.
    """
    counter = Counter(exchange)
    given = harmonised(counter, settings, population) if records is None else records
    about: Content = {"of": population.content(), "view": {"view": view}, **given}
    scaling = _scaling(counter, about, settings, view)
    if settings.missing == "impute" and view == "all":
        about = {**about, **impute(counter, settings, about, scaling)}
        given = {**given, "impute": about["impute"]}
    candidates = list(settings.penalties) if penalty is None else [penalty]
    coefficients, by_fold, best, losses = _path(counter, settings, about, scaling, candidates)
    blocks = settings.modalities if not view.startswith("only:") else (view.removeprefix("only:"),)
    model = Fused(view, blocks, scaling, coefficients, by_fold, candidates[best], losses, None, given, counter.count)
    if calibrate and settings.classes and settings.calibrate == "scale" and len(by_fold):
        content = {**about, "scaling": scaling.content(), "model": {"fold_coefficients": by_fold}}
        model = replace(model, mend=fit_mend(counter, content))
    return replace(model, exchanges=counter.count)


def measure(
    exchange: Exchange, settings: Settings, model: Fused, population: Population, *, drop: Sequence[str] = ()
) -> Scores:
    """Scores of a model on patients that it was not fitted to, with some modalities taken away."""
    content: dict[str, object] = {
        "of": population.content(),
        "view": {"view": model.view, **({"drop": list(drop)} if drop else {})},
        **model.records,
        "scaling": model.scaling.content(),
        "model": {"coefficients": model.coefficients},
    }
    return ask_scores(exchange, settings, content, model)


def ask_scores(exchange: Exchange, settings: Settings, content: Content, model: Fused | None = None) -> Scores:
    """Scores of what a message describes."""
    if settings.event:
        return RankScores.of(exchange("query.mm_concordance", content))
    if not settings.classes:
        return ValueScores.of(exchange("query.mm_values", content))
    mend = {"mend": model.mend.content()} if model is not None and model.mend is not None else {}
    return ClassScores.of(exchange("query.mm_scores", {**content, **mend}))


def impute(exchange: Exchange, settings: Settings, about: Content, scaling: BlockScaling) -> Content:
    """The record ``impute``: for each modality that some lack, ridge regressions of its columns on the others."""
    F, M = len(scaling.centre), len(scaling.widths)
    found, first = np.zeros((1 + F + M, F)), 0
    for number, (name, width) in enumerate(zip(settings.modalities, scaling.widths.tolist(), strict=True)):
        own = np.arange(first, first + width)
        first += width
        if scaling.there[number] == scaling.n:
            continue
        moments = ask_blocks(exchange, {**about, "view": {"view": f"with:{name}"}}, scaling, query=BLOCK)
        others = np.setdiff1d(np.arange(F + M), [*own, F + number])
        path = ridge_path(_regression(moments, others, own), settings.penalties)
        chosen = path.coefficients[path.best]
        found[np.ix_(np.concatenate([[0], 1 + others]), own)] = chosen
    return {"impute": {"impute_columns": found}}


def _regression(
    moments: BlockMoments, inputs: "np.typing.NDArray[np.int64]", outputs: "np.typing.NDArray[np.int64]"
) -> BlockMoments:
    """Moments of some columns as outcomes of others."""
    return BlockMoments(
        moments.n,
        moments.sum_z[:, inputs],
        moments.xx[:, inputs[:, None], inputs],
        moments.xx[:, inputs[:, None], outputs],
        moments.sum_z[:, outputs],
        moments.xx[:, outputs, outputs],
    )


def _scaling(exchange: Exchange, about: Content, settings: Settings, view: str) -> BlockScaling:
    classes: list[int] = []

    def ask(message_type: str, content: Content) -> "dict[str, np.typing.NDArray[np.generic]]":
        sums = dict(exchange(message_type, content))
        classes[:] = [int(count) for count in np.asarray(sums["classes"])]
        return sums

    scaling = pooled_scaling(ask, about, query=MOMENTS)
    if settings.classes and min(classes) < FEWEST:
        few = [name for name, count in zip(settings.classes, classes, strict=True) if count < FEWEST]
        raise InputError(
            f"Fewer than {FEWEST} training patients (view {view}) have {settings.outcome} = {', '.join(few)}; "
            "leave the class out of the declared levels."
        )
    return scaling


def _path(
    exchange: Exchange, settings: Settings, about: Content, scaling: BlockScaling, candidates: list[float]
) -> "tuple[np.typing.NDArray[np.float64], np.typing.NDArray[np.float64], int, np.typing.NDArray[np.float64]]":
    """Coefficients (1 + p, q), those without each fold (K, 1 + p, q), which candidate, and losses (L,)."""
    moments = ask_blocks(exchange, about, scaling, query=BLOCK)
    folds = [fold for fold in range(settings.folds) if moments.n[fold]]
    if settings.event:
        cox = fit_cox_path(
            exchange, about, scaling, moments, candidates, folds=folds, queries=(TIMES, COX), fewest=settings.min_cell
        )
        of, by_fold, losses = cox.coefficients[cox.best], cox.fold_coefficients, cox.losses
        best = cox.best
    elif not settings.classes:
        ridge = ridge_path(moments, candidates)
        return (
            ridge.coefficients[ridge.best],
            ridge.fold_coefficients[:, ridge.best],
            ridge.best,
            _mean(ridge.errors, moments),
        )
    else:
        outputs = len(settings.classes) if len(settings.classes) > 2 else 1
        classes = fit_class_path(
            exchange, about, scaling, moments, candidates, outputs=outputs, folds=folds, query=GRADIENT
        )
        of, by_fold, losses, best = (
            classes.coefficients[classes.best],
            classes.fold_coefficients,
            classes.losses,
            classes.best,
        )
    full = np.zeros((settings.folds, *of.shape))
    for place, fold in enumerate(folds):
        full[fold] = by_fold[place, best]
    return of, full, best, losses.sum(axis=0) / max(int(moments.n.sum()), 1)


def _mean(errors: "np.typing.NDArray[np.float64]", moments: BlockMoments) -> "np.typing.NDArray[np.float64]":
    return np.asarray(errors.sum(axis=0) / max(int(moments.n.sum()), 1))
