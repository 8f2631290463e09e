"""The regression models, as the hub runs them: strategies on sums, and their results as numbers."""

from collections.abc import Callable

import numpy as np
from flame_strategies.cox import fit_cox
from flame_strategies.elastic_net import MessageTypes, fit_elastic_net
from flame_strategies.glm import GlmFit, fit_glm
from flame_strategies.glm_design import Categorical, Design
from flame_strategies.glm_elastic_net import fit_glm_path
from flame_strategies.glm_families import Family
from flame_strategies.glm_inference import Coefficients
from flame_strategies.sums import Content, Exchange, Sums

from federated_statistics.results import Numbers, Result, group, groups
from federated_statistics.settings import Settings

COLUMNS_PER_REQUEST = 16
"""Columns of the second-moment matrix in one answer of the elastic net; the release contract in ``pyproject.toml``
states the same number."""

POINTS_PER_REQUEST = 200
"""Problems in one answer of a penalised logistic or Poisson regression; likewise."""

_FAMILIES: dict[str, Family] = {"linear": "gaussian", "logistic": "logistic", "poisson": "poisson"}


def glm(exchange: Exchange, settings: Settings) -> Result:
    """Linear, logistic or Poisson regression."""
    fit = fit_glm(exchange, design_of(settings), _FAMILIES[settings.analysis], robust=settings.robust)
    numbers = _coefficients(fit.coefficients)
    numbers["fit"] = _fit(fit)
    return Result(numbers, fit.exchanges, {"last_step": fit.last_step}, (_left_out(fit.n, fit.excluded),))


def cox(exchange: Exchange, settings: Settings) -> Result:
    """Cox's proportional hazards, with one baseline hazard for all DIZ or one for each."""
    fit = fit_cox(
        exchange,
        design_of(settings),
        settings.event,
        grid=() if settings.strata_by_site else grid_of(settings),
        strata_by_site=settings.strata_by_site,
    )
    numbers = _coefficients(fit.coefficients)
    hazard = np.exp([fit.coefficients.estimate, fit.coefficients.lower, fit.coefficients.upper])
    numbers |= groups(["hazard ratio", "hazard ratio, lower", "hazard ratio, upper"], fit.coefficients.names, hazard)
    test = fit.test
    numbers["fit"] = {
        "rows": float(fit.n),
        "events": float(fit.events),
        "log partial likelihood": fit.loglik,
        "likelihood ratio": float("nan") if test is None else test.statistic,
        "likelihood ratio, p": float("nan") if test is None else test.p_value,
        "AIC": fit.aic,
    }
    notes = [_left_out(fit.n, fit.excluded)]
    if fit.off_grid or fit.beyond:
        notes.append(f"{fit.off_grid} times were rounded up to the grid, {fit.beyond} end at it; choose a finer one.")
    details = {"last_step": fit.last_step, "off_grid": fit.off_grid, "beyond": fit.beyond}
    return Result(numbers, fit.exchanges, details, tuple(notes))


def elastic_net(exchange: Exchange, settings: Settings) -> Result:
    """The elastic net's path, and the model at the largest penalty within one standard error of the least error."""
    return _linear_path(exchange, settings) if settings.family == "linear" else _glm_path(exchange, settings)


def _linear_path(exchange: Exchange, settings: Settings) -> Result:
    ask = {"columns": list(settings.columns), "outcome": settings.outcome}

    def about(message_type: str, content: Content) -> Sums:
        return exchange(message_type, {"design": ask, **content})

    path = fit_elastic_net(
        about,
        l1_ratio=settings.l1_ratio,
        num_lambdas=settings.penalties,
        folds=settings.folds,
        columns_per_request=COLUMNS_PER_REQUEST,
        messages=MessageTypes("query.en_moments", "query.en_target", "query.en_columns"),
    )
    chosen = path.best_one_se
    model = path.model(chosen)
    numbers: Numbers = {
        "coefficient": {"(intercept)": float(model.intercept), **group(settings.columns, model.coef)},
        "standardised": group(settings.columns, path.coefficients[chosen]),
        "penalty": {"lambda": float(path.lambdas[chosen]), "cv error": float(path.cv_mse[chosen])},
    }
    details = {
        "chosen": chosen,
        "least_cv_error": path.best,
        "lambdas": path.lambdas.tolist(),
        "cv_error": path.cv_mse.tolist(),
        "cv_se": path.cv_se.tolist(),
        "error": "mean squared error",
        "kkt_gap": path.kkt_gap,
    }
    note = (
        f"{np.count_nonzero(model.coef)} of {len(settings.columns)} columns in the model; missing values at the mean."
    )
    return Result(numbers, path.rounds, details, (note,))


def _glm_path(exchange: Exchange, settings: Settings) -> Result:
    path = fit_glm_path(
        exchange,
        design_of(settings),
        _FAMILIES[settings.family],
        l1_ratio=settings.l1_ratio,
        num_lambdas=settings.penalties,
        folds=settings.folds,
        points_per_request=POINTS_PER_REQUEST,
    )
    error, spread = (np.zeros(0) if found is None else found for found in (path.cv_deviance, path.cv_se))
    chosen = path.best_one_se
    numbers: Numbers = {
        "coefficient": group(path.terms, path.coefficients[chosen]),
        "standardised": group(path.terms, path.standardised[chosen]),
        "penalty": {"lambda": float(path.lambdas[chosen]), "cv error": float(error[chosen])},
    }
    details = {
        "chosen": chosen,
        "least_cv_error": path.best,
        "lambdas": path.lambdas.tolist(),
        "cv_error": error.tolist(),
        "cv_se": spread.tolist(),
        "error": "mean deviance",
        "kkt_gap": path.kkt_gap,
    }
    note = f"{path.support[chosen]} of {len(path.terms) - 1} columns in the model. {_left_out(path.n, path.excluded)}"
    return Result(numbers, path.exchanges, details, (note,))


def design_of(settings: Settings) -> Design:
    """The regression's columns."""
    return Design(
        outcome=settings.outcome,
        numeric=settings.columns,
        categorical=tuple(Categorical(name, settings.levels[name]) for name in settings.categories),
        intercept=settings.analysis != "cox",
        exposure=settings.exposure,
    )


def grid_of(settings: Settings) -> "np.typing.NDArray[np.float64]":
    """Times of a Cox regression: first, first + step, ... up to last."""
    first, last, step = settings.grid
    return np.asarray(
        first + step * np.arange(int(np.floor((last - first) / step * (1 + 1e-12))) + 1), dtype=np.float64
    )


def _coefficients(of: Coefficients) -> Numbers:
    return {
        "estimate": group(of.names, of.estimate),
        "standard error": group(of.names, of.standard_error),
        "statistic": group(of.names, of.statistic),
        "p": group(of.names, of.p_value),
        "lower": group(of.names, of.lower),
        "upper": group(of.names, of.upper),
    }


def _fit(fit: GlmFit) -> dict[str, float]:
    null = float("nan") if fit.null_deviance is None else fit.null_deviance
    return {
        "rows": float(fit.n),
        "log-likelihood": fit.loglik,
        "deviance": fit.deviance,
        "null deviance": null,
        "AIC": fit.aic,
        "dispersion": fit.dispersion,
    }


def _left_out(rows: int, excluded: int) -> str:
    return f"Over {rows} complete rows; {excluded} lack a value and are left out."


MODELS: dict[str, Callable[[Exchange, Settings], Result]] = {
    "linear": glm,
    "logistic": glm,
    "poisson": glm,
    "cox": cox,
    "elastic-net": elastic_net,
}
