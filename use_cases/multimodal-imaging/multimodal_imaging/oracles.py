"""What the federated results are held against: the same analysis of all patients in one place, by other programs.

Ridge, logistic and multinomial regression are scikit-learn's; ComBat is written from the paper's formulae with a design
of one column per DIZ, and knows nothing of sums. Used by tests and by `compare`, at the desk alone: scikit-learn is
imported where it is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from multimodal_imaging import cells
from multimodal_imaging.settings import Settings
from multimodal_imaging.site import MISSING, Bool, Float, Int, Site

HARMONISED = ("image", "omics")

SMALLEST = 1e-6
"""Spread below which a column does not vary."""

_SMALL = 1000
"""Parameters up to which a Hessian is formed."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """All patients of all DIZ.

    Attributes:
        values: (n, F) columns of all modalities, NaN where missing.
        there: (n, M) who has which modality.
        marks: (n, M) whose lack is marked.
        widths: Columns of each modality.
        kinds: Of each modality.
        y: (n,) outcome: a number, or the place of the class; NaN where unknown.
        covariates: (n, c).
        train: (n,).
        fold: (n,).
        node: (n,) whose patient it is.
    """

    values: Float
    there: Bool
    marks: Float
    widths: tuple[int, ...]
    kinds: tuple[str, ...]
    y: Float
    covariates: Float
    train: Bool
    fold: Int
    node: Int

    def columns(self, name: int) -> slice:
        """The columns of one modality."""
        first = sum(self.widths[:name])
        return slice(first, first + self.widths[name])


def pool(sites: Sequence[Site], settings: Settings) -> Pooled:
    """The patients of all DIZ as one table, with the rule of rare absences of each DIZ."""
    values, there, marks, y, covariates = [], [], [], [], []
    for site in sites:
        has = cells.presence(site, settings)
        blocks = zip(site.blocks.values(), has.T, strict=True)
        values.append(
            np.concatenate([cells.filled(block.values, own, site, settings) for block, own in blocks], axis=1)
        )
        there.append(has)
        marks.append((~has).astype(np.float64))
        y.append(_outcome(site, settings))
        covariates.append(_covariates(site, settings))
    first = sites[0]
    return Pooled(
        np.concatenate(values),
        np.concatenate(there),
        np.concatenate(marks),
        tuple(block.values.shape[1] for block in first.blocks.values()),
        tuple(block.kind for block in first.blocks.values()),
        np.concatenate(y),
        np.concatenate(covariates),
        np.concatenate([site.train for site in sites]),
        np.concatenate([site.fold(settings.folds, settings.seed) for site in sites]),
        np.concatenate([np.full(site.rows, site.node) for site in sites]),
    )


def harmonise(pooled: Pooled, fitted: Bool, *, tolerance: float = 1e-12) -> Pooled:
    """ComBat with batch = DIZ, fitted to some of the patients, with each DIZ's own shift of its training patients."""
    values, fitted = pooled.values.copy(), fitted & np.isfinite(pooled.y)
    for name, kind in enumerate(pooled.kinds):
        if kind in HARMONISED:
            of = pooled.columns(name)
            values[:, of] = combat(
                values[:, of], pooled.node, pooled.covariates, fitted, pooled.train, tolerance=tolerance
            )
    return Pooled(**{**pooled.__dict__, "values": values})


def combat(
    values: Float, batch: Int, covariates: Float, fitted: Bool, train: Bool, *, tolerance: float = 1e-12
) -> Float:
    """ComBat (Johnson, Li and Rabinovic, Biostatistics 8, 2007, §3.1-3.2) of values (n, f), by batch.

    The regression is on one column for each batch and the covariates, over the complete rows of `fitted`. Features
    that do not vary within batches are left as they are, and those that do not vary at a DIZ are there.
    """
    complete = fitted & np.isfinite(values).all(axis=1) & np.isfinite(covariates).all(axis=1)
    batches = np.unique(batch[complete])
    indicator = (batch[complete][:, None] == batches).astype(np.float64)
    X = np.concatenate([indicator, covariates[complete]], axis=1)
    b = np.linalg.lstsq(X, values[complete], rcond=None)[0]
    share = indicator.mean(axis=0)
    mean, effects = share @ b[: len(batches)], b[len(batches) :]
    sigma = np.sqrt(((values[complete] - X @ b) ** 2).mean(axis=0))
    varies = sigma > np.maximum(1e-6 * np.abs(mean), SMALLEST)
    known = covariates[complete].mean(axis=0)
    kept = mean + np.where(np.isfinite(covariates), covariates, known) @ effects
    found = values.copy()
    for one in np.unique(batch):
        rows = batch == one
        z = (values[rows] - kept[rows]) / np.where(varies, sigma, 1.0)
        own = z[train[rows] & np.isfinite(z).any(axis=1)]
        if len(own) < 2:
            continue
        n = np.isfinite(own).sum(axis=0)
        g, d = np.nanmean(own, axis=0), np.nanvar(own, axis=0, ddof=1)
        used = varies & (d > 1e-12)
        if not used.any():
            continue
        g_star, d_star = _posterior(own[:, used], g[used], d[used], n[used], tolerance)
        found[np.ix_(rows, used)] = sigma[used] * (z[:, used] - g_star) / np.sqrt(d_star) + kept[np.ix_(rows, used)]
    return found


def _posterior(own: Float, g: Float, d: Float, n: Int, tolerance: float) -> tuple[Float, Float]:
    centre, between = g.mean(), g.var(ddof=1)
    a = (2 * d.var(ddof=1) + d.mean() ** 2) / d.var(ddof=1)
    b = (d.mean() * d.var(ddof=1) + d.mean() ** 3) / d.var(ddof=1)
    g_star, d_star = g, d
    for _ in range(10_000):
        before = g_star, d_star
        g_star = (n * between * g + d_star * centre) / (n * between + d_star)
        d_star = (b + np.nansum((own - g_star) ** 2, axis=0) / 2) / (n / 2 + a - 1)
        moved = max(np.abs(g_star - before[0]).max() / np.sqrt(between), np.abs(d_star / before[1] - 1).max())
        if moved <= tolerance:
            break
    return g_star, d_star


@dataclass(frozen=True, eq=False)
class Design:
    """A standardised design.

    Attributes:
        Z: (n, F + M) of all patients.
        centre: (F,) of the patients it was fitted to.
        scale: (F,) likewise, 0 where a column does not vary.
    """

    Z: Float
    centre: Float
    scale: Float


def design(pooled: Pooled, fitted: Bool) -> Design:
    """Standardised by the observed values of some of the patients, 0 where missing, and marks."""
    of = pooled.values[fitted]
    counts = np.isfinite(of).sum(axis=0)
    centre = np.where(counts, np.nansum(of, axis=0) / np.maximum(counts, 1), 0.0)
    scale = np.sqrt(np.nansum((of - centre) ** 2, axis=0) / np.maximum(counts, 1))
    scale = np.where(scale > np.maximum(1e-6 * np.abs(centre), SMALLEST), scale, 0.0)
    unit = np.where(scale > 0, scale, 1.0)
    Z = np.where(np.isfinite(pooled.values) & (scale > 0), (pooled.values - centre) / unit, 0.0)
    return Design(np.concatenate([Z, pooled.marks], axis=1), centre, scale)


def impute(pooled: Pooled, found: Design, fitted: Bool, settings: Settings) -> Design:
    """Absent modalities foretold from the others by scikit-learn's ridge regression."""
    F = len(found.centre)
    Z = found.Z.copy()
    for name, width in enumerate(pooled.widths):
        of = pooled.columns(name)
        rows = fitted & pooled.there[:, name]
        if rows.sum() == fitted.sum() or not width:
            continue
        others = np.setdiff1d(np.arange(F + len(pooled.widths)), [*range(of.start, of.stop), F + name])
        X, Y = found.Z[:, others], found.Z[:, of]
        best = _choose(X, Y, pooled.fold, rows, settings, number=True)
        model = ridge(X[rows], Y[rows], best)
        absent = ~pooled.there[:, name]
        Z[absent, of] = model[0] + X[absent] @ model[1:]
    return Design(Z, found.centre, found.scale)


def fit(
    X: Float, pooled: Pooled, fitted: Bool, settings: Settings, *, folds: bool = True
) -> tuple[Float, float, Float]:
    """The penalised model with the cross-validated penalty.

    Returns:
        Coefficients (1 + p, q), the penalty, and those without each fold (K, 1 + p, q), K = 0 where not asked for.
    """
    number = not settings.classes
    y = pooled.y[:, None] if number else pooled.y
    best = _choose(X, y, pooled.fold, fitted, settings, number=number)
    one = ridge if number else classes
    whole = one(X[fitted], y[fitted], best)
    left = [fitted & (pooled.fold != k) for k in range(settings.folds if folds else 0)]
    return whole, best, np.array([one(X[of], y[of], best) for of in left]).reshape(len(left), *whole.shape)


def _choose(X: Float, y: Float, fold: Int, fitted: Bool, settings: Settings, *, number: bool) -> float:
    losses = np.zeros(len(settings.penalties))
    for place, penalty in enumerate(settings.penalties):
        for k in range(settings.folds):
            inside, outside = fitted & (fold != k), fitted & (fold == k)
            if not outside.any():
                continue
            if number:
                b = ridge(X[inside], y[inside], penalty)
                losses[place] += ((y[outside] - b[0] - X[outside] @ b[1:]) ** 2).sum()
            else:
                p = probabilities(X[outside], classes(X[inside], y[inside], penalty, exact=False))
                losses[place] -= np.log(p[np.arange(len(p)), y[outside].astype(np.int64)]).sum()
    return settings.penalties[int(np.flatnonzero(losses <= losses.min())[-1])]


def ridge(X: Float, y: npt.NDArray[np.float64], penalty: float) -> Float:
    """(1 + p, q) by scikit-learn."""
    from sklearn.linear_model import Ridge  # noqa: PLC0415 -- at the desk alone

    model = Ridge(alpha=len(X) * penalty, solver="cholesky").fit(X, y)
    return np.concatenate([np.atleast_2d(model.intercept_), np.atleast_2d(model.coef_).T])


def classes(X: Float, y: Float, penalty: float, *, exact: bool = True) -> Float:
    """(1 + p, q) by scikit-learn, to the end by Newton's method or, where that is large, L-BFGS; or roughly."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 -- at the desk alone

    small = X.shape[1] * len(np.unique(y)) <= _SMALL
    how = {"solver": "newton-cholesky", "tol": 1e-13} if exact and small else {"solver": "lbfgs", "tol": 1e-6}
    if exact and not small:
        how = {"solver": "lbfgs", "tol": 1e-12}
    model = LogisticRegression(C=1 / (len(X) * penalty), max_iter=20_000, **how).fit(X, y.astype(np.int64))
    return np.concatenate([model.intercept_[None, :], model.coef_.T])


def probabilities(X: Float, b: Float) -> Float:
    """(n, C) of a model (1 + p, q)."""
    eta = b[0] + X @ b[1:]
    eta = np.concatenate([np.zeros_like(eta), eta], axis=1) if eta.shape[1] == 1 else eta
    raised = np.exp(eta - eta.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _outcome(site: Site, settings: Settings) -> Float:
    if not settings.classes:
        return site.number(settings.outcome)
    code = site.code(settings.outcome)
    return np.where(code == MISSING, np.nan, code.astype(np.float64))


def _covariates(site: Site, settings: Settings) -> Float:
    columns = []
    for name in settings.covariates:
        if name in site.codes:
            code = site.codes[name]
            columns += [np.where(code < 0, np.nan, code == level) for level in range(1, len(site.levels[name]))]
        else:
            columns.append(site.numbers[name])
    table = np.array(columns, dtype=np.float64).T.reshape(site.rows, len(columns))
    return cells.filled(table, np.ones(site.rows, dtype=np.bool_), site, settings)
