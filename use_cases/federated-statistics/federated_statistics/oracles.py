"""The same analyses on the pooled rows, by the libraries that people use for them: what a federated run has to equal.

Each returns the numbers under the names that the federated analysis gives them; what a library does not have is left
out. The design matrix of regressions is built here with pandas, not with the code that the DIZ run.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd

from federated_statistics.analyses import edges_of
from federated_statistics.errors import InputError
from federated_statistics.prepare import SITE
from federated_statistics.results import Numbers, bin_label, cells, group, groups
from federated_statistics.settings import Settings


def summary(rows: pd.DataFrame, settings: Settings) -> Numbers:
    """By pandas."""
    of = rows[list(settings.columns)].astype(float)
    found = {"count": of.count(), "missing": of.isna().sum(), "mean": of.mean(), "sd": of.std(), "variance": of.var()}
    return {name: group(settings.columns, values) for name, values in found.items()}


def histogram(rows: pd.DataFrame, settings: Settings) -> Numbers:
    """By ``numpy.histogram``."""
    found = {}
    for name, edges in edges_of(settings).items():
        x = rows[name].dropna().to_numpy(dtype=float)
        labels = [bin_label(*pair) for pair in pairwise(edges)]
        outside = [(x < edges[0]).sum(), (x > edges[-1]).sum(), rows[name].isna().sum()]
        counts, _ = np.histogram(x, edges)
        found[name] = group([*labels, "below", "above", "missing"], [*counts, *outside])
    return found


def crosstab(rows: pd.DataFrame, settings: Settings) -> Numbers:
    """By ``pandas.crosstab`` and ``scipy.stats.chi2_contingency``."""
    from scipy.stats import chi2_contingency  # noqa: PLC0415 -- only for this one

    words = {name: _words(rows[name]) for name in (settings.row, settings.column)}
    levels = settings.levels[settings.row], settings.levels[settings.column]
    table = pd.crosstab(words[settings.row], words[settings.column])
    counts = table.reindex(index=list(levels[0]), columns=list(levels[1]), fill_value=0)
    test = chi2_contingency(table, correction=False)
    found = cells(counts.to_numpy(), *levels)
    found["independence"] = {"chi-squared": float(test.statistic), "degrees of freedom": float(test.dof)}
    return found


def quantile(rows: pd.DataFrame, settings: Settings) -> Numbers:
    """By ``numpy.quantile``."""
    method: Literal["linear", "inverted_cdf"] = "linear" if settings.quantiles == "linear" else "inverted_cdf"
    values = [rows[name].dropna().to_numpy(dtype=float) for name in settings.columns]
    found = {"count": group(settings.columns, [len(x) for x in values])}
    for q in settings.probabilities:
        found[f"q{q:g}"] = group(settings.columns, [np.quantile(x, q, method=method) for x in values])
    return found


def correlation(rows: pd.DataFrame, settings: Settings) -> Numbers:
    """By ``pandas.DataFrame.corr``, whose rule for missing values is the pairwise one."""
    of = rows[list(settings.columns)].astype(float)
    found = (of if settings.rows == "pairwise" else of.dropna()).corr().to_numpy()
    return groups(settings.columns, settings.columns, found)


def pca(rows: pd.DataFrame, settings: Settings) -> Numbers:
    """By scikit-learn's PCA, each component with the sign whose largest loading is positive."""
    from sklearn.decomposition import PCA  # noqa: PLC0415 -- only for this one

    X = rows[list(settings.columns)].astype(float).dropna().to_numpy()
    if settings.scaled:
        X = (X - X.mean(axis=0)) / X.std(axis=0, ddof=1)
    fit = PCA(settings.components or None, svd_solver="full").fit(X)
    axes = fit.components_
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    names = [f"PC{number}" for number in range(1, len(axes) + 1)]
    return {
        "variance": group(names, fit.explained_variance_),
        "share": group(names, fit.explained_variance_ratio_),
        **groups(names, settings.columns, axes),
    }


def glm(rows: pd.DataFrame, settings: Settings) -> Numbers:
    """By statsmodels' OLS or GLM, iterated to the end."""
    import statsmodels.api as sm  # type: ignore[import-untyped]  # noqa: PLC0415 -- slow, only for these

    X, kept = _design(rows, settings, intercept=True)
    y = kept[settings.outcome].astype(float)
    robust: dict[str, Any] = {"cov_type": "HC0"} if settings.robust else {}
    if settings.analysis == "linear":
        fit = sm.OLS(y, X).fit(**robust, use_t=True)
        extra = {"deviance": fit.ssr, "null deviance": fit.centered_tss, "dispersion": fit.ssr / fit.df_resid}
        extra["AIC"] = -2 * fit.llf + 2 * X.shape[1]
    else:
        family = sm.families.Binomial() if settings.analysis == "logistic" else sm.families.Poisson()
        exposure = kept[settings.exposure].astype(float) if settings.exposure else None
        fit = sm.GLM(y, X, family=family, exposure=exposure).fit(
            tol=1e-14, tol_criterion="params", maxiter=200, **robust
        )
        extra = {"deviance": fit.deviance, "dispersion": 1.0, "AIC": fit.aic}
        if not settings.exposure:
            extra["null deviance"] = fit.null_deviance
    found = _wald(list(X.columns), fit.params, fit.bse, fit.tvalues, fit.pvalues, interval=fit.conf_int())
    found["fit"] = {
        "rows": float(fit.nobs),
        "log-likelihood": float(fit.llf),
        **{k: float(v) for k, v in extra.items()},
    }
    return found


def cox(rows: pd.DataFrame, settings: Settings) -> Numbers:
    """By lifelines' CoxPHFitter with Efron's ties, iterated to the end."""
    from lifelines import CoxPHFitter  # type: ignore[import-untyped]  # noqa: PLC0415 -- slow, only for this one

    X, kept = _design(rows, settings, intercept=False)
    data = X.assign(**{"(time)": kept[settings.outcome].astype(float), "(event)": kept[settings.event]})
    strata = [SITE] if settings.strata_by_site else None
    if strata:
        data[SITE] = kept[SITE]
    fitter = CoxPHFitter()
    options = {"precision": 1e-14, "r_precision": 1e-14, "max_steps": 200}
    fitter.fit(data, "(time)", "(event)", strata=strata, fit_options=options)
    s = fitter.summary
    interval = s[["coef lower 95%", "coef upper 95%"]].to_numpy()
    found = _wald(list(X.columns), s["coef"], s["se(coef)"], s["z"], s["p"], interval=interval)
    hazard = [s["exp(coef)"], s["exp(coef) lower 95%"], s["exp(coef) upper 95%"]]
    found |= groups(["hazard ratio", "hazard ratio, lower", "hazard ratio, upper"], list(X.columns), np.array(hazard))
    found["fit"] = {
        "rows": float(len(data)),
        "events": float(data["(event)"].sum()),
        "log partial likelihood": float(fitter.log_likelihood_),
        "AIC": float(fitter.AIC_partial_),
    }
    return found


def elastic_net(rows: pd.DataFrame, settings: Settings, penalty: float) -> Numbers:
    """By scikit-learn at the same penalty, converged tightly; it has no penalised Poisson regression of this kind.

    Raises:
        InputError: It is one.
    """
    from sklearn.linear_model import ElasticNet, LogisticRegression  # noqa: PLC0415 -- only for this one

    if settings.family == "poisson":
        raise InputError("scikit-learn has no Poisson regression with an elastic net to compare with.")
    if settings.family == "logistic":
        X, kept = _design(rows, settings, intercept=False)
    else:
        kept = rows[rows[settings.outcome].notna()]
        X = kept[list(settings.columns)].astype(float)
        X = X.fillna(X.mean())
    y = kept[settings.outcome].astype(float)
    centre, scale = X.mean().to_numpy(), X.std(ddof=0).to_numpy()
    Z = (X.to_numpy() - centre) / scale
    if settings.family == "logistic":
        model = LogisticRegression(
            C=1 / (penalty * len(y)), l1_ratio=settings.l1_ratio, solver="saga", tol=1e-13, max_iter=100_000
        )
        model.fit(Z, y)
        standardised, own, intercept = model.coef_[0], model.coef_[0] / scale, float(model.intercept_[0])
        found = {"(intercept)": intercept, **group(X.columns, standardised)}
    else:
        fit = ElasticNet(alpha=penalty, l1_ratio=settings.l1_ratio, tol=1e-14, max_iter=1_000_000)
        fit.fit(Z, (y - y.mean()) / y.std(ddof=0))
        standardised, own, intercept = fit.coef_, fit.coef_ * y.std(ddof=0) / scale, float(y.mean())
        found = group(X.columns, standardised)
    coefficients = {"(intercept)": float(intercept - own @ centre), **group(X.columns, own)}
    return {"coefficient": coefficients, "standardised": found}


ORACLES: dict[str, Callable[[pd.DataFrame, Settings], Numbers]] = {
    "summary": summary,
    "histogram": histogram,
    "crosstab": crosstab,
    "quantiles": quantile,
    "correlation": correlation,
    "pca": pca,
    "linear": glm,
    "logistic": glm,
    "poisson": glm,
    "cox": cox,
}
"""By analysis; the elastic net needs a penalty besides."""


def _design(rows: pd.DataFrame, settings: Settings, *, intercept: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Columns of the complete rows, and these rows."""
    parts: list[pd.DataFrame | pd.Series[Any]] = [rows[list(settings.columns)].astype(float)]
    for name in settings.categories:
        words, levels = _words(rows[name]), settings.levels[name]
        known = words.where(words.isin(levels))
        parts += [(known == v).astype(float).where(known.notna()).rename(f"{name}[{v}]") for v in levels[1:]]
    X = pd.concat(parts, axis=1)
    needed = [
        settings.outcome,
        *filter(None, (settings.event if settings.analysis == "cox" else "", settings.exposure)),
    ]
    complete = X.notna().all(axis=1) & rows[needed].notna().all(axis=1)
    X = X[complete]
    if intercept:
        X.insert(0, "(intercept)", 1.0)
    return X, rows[complete]


def _words(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Cells as levels: 1 and 1.0 are "1"."""
    return column.map(lambda cell: f"{cell:g}" if isinstance(cell, int | float) and not pd.isna(cell) else cell)


def _wald(names: list[str], *columns: Any, interval: Any) -> Numbers:
    ends = np.asarray(interval)
    estimate, error, statistic, p = columns
    return {
        "estimate": group(names, estimate),
        "standard error": group(names, error),
        "statistic": group(names, statistic),
        "p": group(names, p),
        "lower": group(names, ends[:, 0]),
        "upper": group(names, ends[:, 1]),
    }
