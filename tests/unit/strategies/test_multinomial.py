"""Logistic, multinomial and Cox regression from losses and gradients: equal to scikit-learn's and statsmodels' fits."""

import numpy as np
import pytest
from flame_strategies.block_cox import fit_cox_path
from flame_strategies.block_fusion import BlockMoments, BlockScaling
from flame_strategies.errors import StrategyError, UnusableReply
from flame_strategies.glm_design import DesignError
from flame_strategies.multinomial import fit_class_path
from flame_strategies.quasi_newton import minimise_together

FOLDS = 3


class Rows:
    """Pooled rows that answer as the sites' sums would."""

    def __init__(self, classes, *, seed=0, n=150, p=8, spread=1.0):
        rng = np.random.default_rng(seed)
        self.Z = rng.normal(size=(n, p)) @ np.linalg.cholesky(0.4 * np.eye(p) + 0.6)
        eta = spread * self.Z @ rng.normal(size=(p, max(classes, 2)))
        self.y = (eta + rng.gumbel(size=eta.shape)).argmax(axis=1)
        self.q = 1 if classes == 2 else classes
        self.Y = self.y[:, None].astype(float) if classes == 2 else np.eye(classes)[self.y]
        self.fold = rng.integers(0, FOLDS, n)
        self.asked: list[int] = []
        none = np.zeros(0, dtype=np.int64)
        self.scaling = BlockScaling(n, 3, none, none, none, np.zeros(p), np.ones(p))

    @property
    def moments(self):
        parts = [self.fold == k for k in range(FOLDS)]
        return BlockMoments(
            np.array([part.sum() for part in parts]),
            np.stack([self.Z[part].sum(axis=0) for part in parts]),
            np.stack([self.Z[part].T @ self.Z[part] for part in parts]),
            np.stack([self.Z[part].T @ self.Y[part] for part in parts]),
            np.stack([self.Y[part].sum(axis=0) for part in parts]),
            np.stack([(self.Y[part] ** 2).sum(axis=0) for part in parts]),
        )

    def __call__(self, message_type, content):
        points, folds = content["points"]["coefficients"], content["points"]["fold"]
        self.asked.append(len(points))
        losses, gradients = [], []
        Z = np.concatenate([np.ones((len(self.Z), 1)), self.Z], axis=1)
        for b, fold in zip(points, folds, strict=True):
            eta, inside = Z @ b, self.fold != fold
            if self.q == 1:
                loss = np.logaddexp(0, eta)[:, 0] - (self.Y * eta)[:, 0]
                residual = 1 / (1 + np.exp(-eta)) - self.Y
            else:
                total = np.logaddexp.reduce(eta, axis=1)
                loss, residual = total - (self.Y * eta).sum(axis=1), np.exp(eta - total[:, None]) - self.Y
            losses.append([loss[inside].sum(), loss[~inside].sum()])
            gradients.append(Z[inside].T @ residual[inside])
        n = np.array([(self.fold == k).sum() for k in range(FOLDS)])
        return {"n": n, "loss": np.array(losses), "gradient": np.array(gradients)}


def sklearn(Z, y, penalty):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (len(Z) * penalty), solver="newton-cholesky", tol=1e-13, max_iter=500).fit(Z, y)
    return np.concatenate([model.intercept_[None], model.coef_.T])


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
def test_coefficients_are_scikit_learn_s(classes, penalty):
    rows = Rows(classes, seed=classes)
    path = fit_class_path(rows, {}, rows.scaling, rows.moments, [penalty], outputs=rows.q)
    np.testing.assert_allclose(path.coefficients[0], sklearn(rows.Z, rows.y, penalty), rtol=0, atol=1e-7)
    assert path.exchanges == len(rows.asked) < 80


@pytest.mark.parametrize("classes", [2, 4])
def test_the_penalty_with_the_least_held_out_loss_is_chosen_and_its_models_are_exact(classes):
    rows = Rows(classes, seed=5, spread=0.4)
    penalties = [0.003, 0.03, 0.3, 3.0]
    path = fit_class_path(rows, {}, rows.scaling, rows.moments, penalties, outputs=rows.q, folds=range(FOLDS))

    losses = np.zeros((FOLDS, len(penalties)))
    for k in range(FOLDS):
        inside = rows.fold != k
        for place, penalty in enumerate(penalties):
            b = sklearn(rows.Z[inside], rows.y[inside], penalty)
            eta = b[0] + rows.Z[~inside] @ b[1:]
            full = np.concatenate([np.zeros_like(eta), eta], axis=1) if rows.q == 1 else eta
            total = np.logaddexp.reduce(full, axis=1)
            losses[k, place] = (total - full[np.arange(len(full)), rows.y[~inside]]).sum()
        truth = sklearn(rows.Z[inside], rows.y[inside], penalties[path.best])
        np.testing.assert_allclose(path.fold_coefficients[k, path.best], truth, rtol=0, atol=1e-7)
    assert path.best == losses.sum(axis=0).argmin()
    tried = np.isfinite(path.losses[0])
    assert tried[path.best :].all()
    np.testing.assert_allclose(path.losses[:, tried], losses[:, tried], rtol=0.02)
    np.testing.assert_allclose(
        path.coefficients[path.best], sklearn(rows.Z, rows.y, penalties[path.best]), rtol=0, atol=1e-7
    )


def test_penalties_weaker_than_one_that_is_worse_are_not_tried():
    rows = Rows(3, seed=6, n=60, p=12, spread=0.2)
    penalties = [1e-6, 1e-5, 1e-4, 1e-3, 1.0]
    path = fit_class_path(rows, {}, rows.scaling, rows.moments, penalties, outputs=3, folds=range(FOLDS))
    assert np.isinf(path.losses[:, 0]).all()
    assert np.isnan(path.coefficients[0]).all()
    assert path.best == 4


def test_folds_are_counted_where_moments_are_not_by_fold():
    rows = Rows(3, seed=7)
    one = rows.moments.whole
    path = fit_class_path(rows, {}, rows.scaling, one, [0.1], outputs=3, folds=range(FOLDS))
    for k in range(FOLDS):
        inside = rows.fold != k
        truth = sklearn(rows.Z[inside], rows.y[inside], 0.1)
        np.testing.assert_allclose(path.fold_coefficients[k, 0], truth, rtol=0, atol=1e-7)


def test_rows_that_change_on_the_way_and_answers_of_other_shapes_are_refused():
    rows = Rows(2)

    def changing(message_type, content):
        sums = rows(message_type, content)
        return sums if len(rows.asked) < 3 else {**sums, "n": sums["n"] + 1}

    with pytest.raises(UnusableReply, match="rows changed"):
        fit_class_path(changing, {}, rows.scaling, rows.moments, [0.1], outputs=1)
    with pytest.raises(UnusableReply, match="not those of the points"):
        fit_class_path(lambda *a: {**rows(*a), "loss": np.zeros(2)}, {}, rows.scaling, rows.moments, [0.1], outputs=1)


def test_a_fit_that_is_not_let_to_its_end_says_so():
    rows = Rows(3, seed=2)
    with pytest.raises(StrategyError, match="did not converge in 3 exchanges"):
        fit_class_path(rows, {}, rows.scaling, rows.moments, [1e-3], outputs=3, max_exchanges=3)
    with pytest.raises(ValueError, match="outputs"):
        fit_class_path(rows, {}, rows.scaling, rows.moments, [1e-3], outputs=2)
    with pytest.raises(ValueError, match="above 0"):
        fit_class_path(rows, {}, rows.scaling, rows.moments, [0.0], outputs=3)


def test_a_step_that_goes_too_far_is_shortened():
    """log cosh is flat far away: where the curvature is worst known, a unit step overshoots."""

    def evaluate(which, points):
        return [(float(np.log(np.cosh(40 * w)).sum() / 40), np.tanh(40 * w)) for w in points]

    (found,) = minimise_together(evaluate, [np.array([0.3, -0.01])], lambda _, step: float(np.abs(step).max()))
    np.testing.assert_allclose(found.at, 0, atol=1e-9)


class Survival:
    """Pooled rows that answer as the sites' sums of a Cox regression would, row by row."""

    def __init__(self, *, seed=0, n=200, p=5, last=8):
        rng = np.random.default_rng(seed)
        self.Z = rng.normal(size=(n, p))
        time = rng.exponential(4 * np.exp(-self.Z @ rng.normal(0, 0.5, p)))
        self.bins = np.minimum(time.astype(int), last)
        self.event = (rng.random(n) < 0.7) & (self.bins < last)
        self.fold, self.last = rng.integers(0, FOLDS, n), last

    @property
    def moments(self):
        parts = [self.fold == k for k in range(FOLDS)]
        zero = np.zeros((FOLDS, 1))
        return BlockMoments(
            np.array([part.sum() for part in parts]),
            np.stack([self.Z[part].sum(axis=0) for part in parts]),
            np.stack([self.Z[part].T @ self.Z[part] for part in parts]),
            np.zeros((FOLDS, self.Z.shape[1], 1)), zero, zero,
        )  # fmt: skip

    def __call__(self, message_type, content):
        if message_type == "query.block_times":
            events, leaving = np.zeros((FOLDS, self.last), int), np.zeros((FOLDS, self.last + 1), int)
            np.add.at(events, (self.fold[self.event], self.bins[self.event]), 1)
            np.add.at(leaving, (self.fold, self.bins), 1)
            return {"events": events, "leaving": leaving, "invalid": np.array([0])}
        kept = content["points"]["kept"]
        place = np.searchsorted(kept, self.bins, side="right") - 1
        parts: dict[str, list] = {name: [] for name in ("risk", "risk_z", "event_eta", "event_z")}
        for b, fold in zip(content["points"]["coefficients"], content["points"]["fold"], strict=True):
            eta, inside = self.Z @ b[1:, 0], self.fold != fold
            r = np.exp(eta)
            at = [place == k for k in range(len(kept))]
            parts["risk"].append([[r[a & inside].sum() for a in at], [r[a].sum() for a in at]])
            parts["risk_z"].append([r[a & inside] @ self.Z[a & inside] for a in at])
            parts["event_eta"].append([eta[self.event & inside].sum(), eta[self.event].sum()])
            parts["event_z"].append(self.Z[self.event & inside].sum(axis=0))
        events = np.array([(self.event & (self.bins == k)).sum() for k in kept])
        return {"events": events, **{name: np.array(part) for name, part in parts.items()}}


def scaling_of(rows):
    none = np.zeros(0, dtype=np.int64)
    p = rows.Z.shape[1]
    return BlockScaling(len(rows.Z), 3, none, none, none, np.zeros(p), np.ones(p))


def test_the_score_of_a_cox_regression_is_that_of_the_penalty():
    """statsmodels' gradient with Breslow's ties, at our coefficients: n penalty b."""
    from statsmodels.duration.hazard_regression import PHReg

    rows = Survival()
    path = fit_cox_path(rows, {}, scaling_of(rows), rows.moments, [0.01, 0.1, 1.0], folds=range(FOLDS))
    for k in (-1, 0, 1, 2):
        inside = rows.fold != k
        b = (path.coefficients if k < 0 else path.fold_coefficients[k])[path.best]
        model = PHReg(rows.bins[inside], rows.Z[inside], status=rows.event[inside].astype(int), ties="breslow")
        wanted = inside.sum() * path.penalties[path.best] * b[1:, 0]
        np.testing.assert_allclose(model.score(b[1:, 0]), wanted, rtol=0, atol=1e-6)
        assert b[0, 0] == 0
    whole = PHReg(rows.bins, rows.Z, status=rows.event.astype(int), ties="breslow")
    events = np.bincount(rows.bins[rows.event])  # statsmodels leaves log(d!) out of neither side
    assert path.events == events.sum()
    difference = -path.loss - whole.loglike(path.coefficients[path.best, 1:, 0])
    at_zero = fit_cox_path(rows, {}, scaling_of(rows), rows.moments, [1e9])
    assert difference == pytest.approx(-at_zero.loss - whole.loglike(np.zeros(5)), abs=1e-6)


def test_bins_of_time_with_few_rows_and_no_events_are_refused():
    rows = Survival(n=30, last=20)
    with pytest.raises(DesignError, match="coarser grid"):
        fit_cox_path(rows, {}, scaling_of(rows), rows.moments, [0.1])
    rows = Survival()
    rows.event[:] = False
    with pytest.raises(DesignError, match="No event"):
        fit_cox_path(rows, {}, scaling_of(rows), rows.moments, [0.1])
