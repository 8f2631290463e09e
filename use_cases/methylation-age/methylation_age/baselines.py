"""What the federated clocks are compared with. All of it needs the rows of all DIZ in one place: simulations only.

* `pooled_elastic_net`: scikit-learn's coordinate descent on the pooled rows, converged tightly, at the penalty that
  the federated fit chose;
* `local_elastic_net`: what one DIZ gets alone, with its own cross-validation;
* `averaged_elastic_net`: the same objective by federated averaging of stochastic subgradient descent (McMahan et al.,
  2017), as linear clocks are often federated: no coefficient becomes exactly zero, and the fixed point is not the
  pooled solution when the DIZ differ;
* `pooled_mlp`: the MLP on the pooled rows, as many epochs as it has in all rounds;
* `published_ages`: a clock trained elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from flame_strategies.elastic_net import fit_elastic_net
from flame_strategies.in_memory import InMemorySites, SiteRows

from methylation_age import horvath, mlp
from methylation_age.clock import MlpClock
from methylation_age.cohort import Cohort
from methylation_age.elastic_net_run import COLUMNS_PER_REQUEST, ElasticNetSettings
from methylation_age.packaged import PublishedClock, average_betas

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Standardised:
    """Pooled rows, standardised by their own mean and population standard deviation, missing values at the mean.

    Attributes:
        z: (n, p).
        y: (n,) transformed age.
        centre: (p,) of the betas.
        scale: (p,) of the betas, 1 where constant.
        y_centre: Of the transformed age.
        y_scale: Of the transformed age.
    """

    z: Float
    y: Float
    centre: Float
    scale: Float
    y_centre: float
    y_scale: float

    @classmethod
    def of(cls, cohorts: Sequence[Cohort]) -> "Standardised":
        """Pool the rows of several DIZ."""
        betas = np.concatenate([cohort.betas for cohort in cohorts])
        target = np.concatenate([cohort.target for cohort in cohorts])
        missing = np.isnan(betas)
        centre = np.where(missing, 0.0, betas).sum(axis=0) / np.maximum(1, (~missing).sum(axis=0))
        filled = np.where(missing, centre, betas)
        scale = filled.std(axis=0)
        scale[scale < 1e-9] = 1.0
        y_centre, y_scale = float(target.mean()), float(target.std())
        return cls((filled - centre) / scale, (target - y_centre) / y_scale, centre, scale, y_centre, y_scale)

    def ages(self, coefficients: Float, betas: Float) -> Float:
        """Years predicted by coefficients for standardised columns; (m, p) betas give (m,)."""
        z = (np.where(np.isnan(betas), self.centre, betas) - self.centre) / self.scale
        return horvath.inverse(z @ coefficients * self.y_scale + self.y_centre)


def pooled_elastic_net(rows: Standardised, penalty: float, l1_ratio: float) -> tuple[Float, float]:
    """Coefficients (p,) for standardised columns, and how far they are from optimal as a share of the penalty.

    A loose fit over all columns tells which matter; fits on those are then tightened and checked against the optimality
    conditions over all columns, and repeated with the columns that violate them.
    """
    from sklearn.linear_model import ElasticNet  # noqa: PLC0415 -- a second to import

    def fit(columns: npt.NDArray[np.intp], tolerance: float) -> Float:
        net = ElasticNet(
            penalty,
            l1_ratio=l1_ratio,
            fit_intercept=False,
            tol=tolerance,
            max_iter=1_000_000,
            precompute=len(columns) < len(rows.z),
        )
        coefficients = np.zeros(rows.z.shape[1])
        coefficients[columns] = net.fit(np.asfortranarray(rows.z[:, columns]), rows.y).coef_
        return coefficients

    def gradient(coefficients: Float) -> Float:
        return rows.z.T @ (rows.y - rows.z @ coefficients) / len(rows.y) - penalty * (1 - l1_ratio) * coefficients

    threshold = penalty * l1_ratio
    rough = fit(np.arange(rows.z.shape[1]), 1e-3)
    candidates = np.flatnonzero(rough)
    for tolerance, allowed in ((1e-6, 1e-3), (1e-13, 1e-9)):
        violators = candidates
        while violators.size:
            candidates = np.union1d(candidates, violators)
            coefficients = fit(candidates, tolerance)
            slope = gradient(coefficients)
            inside, outside = np.abs(slope - threshold * np.sign(coefficients)), np.abs(slope) - threshold
            gap = np.where(coefficients != 0, inside, outside)
            violators = np.setdiff1d(np.flatnonzero(gap > allowed * threshold), candidates)
    return coefficients, max(0.0, float(gap.max())) / threshold


def local_elastic_net(cohort: Cohort, settings: ElasticNetSettings) -> tuple[npt.NDArray[np.float64], float, Float]:
    """One DIZ's own clock: coefficients (p,) for betas, intercept, and what stands for missing values (p,)."""
    path = fit_elastic_net(
        InMemorySites([SiteRows(cohort.betas, cohort.target, cohort.patient_ids)]),
        l1_ratio=settings.l1_ratio,
        num_lambdas=settings.lambda_count,
        lambda_min_ratio=settings.lambda_min_ratio,
        folds=settings.folds,
        columns_per_request=4 * COLUMNS_PER_REQUEST,  # nothing leaves here: fewer rounds are quicker
    )
    model = path.model(path.best_one_se)
    return model.coef, model.intercept, model.centre


def averaged_elastic_net(
    rows: Standardised,
    sites: Sequence[npt.NDArray[np.intp]],
    penalty: float,
    l1_ratio: float,
    *,
    rounds: int = 40,
    epochs: int = 10,
    batch_size: int = 32,
    first_step: float = 0.75,
    last_step: float = 0.075,
    seed: int = 0,
    factors: Float | None = None,
) -> Float:
    """Coefficients (p,) from federated averaging of stochastic subgradient descent.

    Args:
        rows: Pooled rows.
        sites: Row indices of each DIZ.
        penalty: Lambda.
        l1_ratio: Share of the absolute penalty.
        rounds: Of averaging.
        epochs: Passes of each DIZ per round.
        batch_size: Samples per step.
        first_step: Step size times p, the mean squared length of a standardised row.
        last_step: The same in the last round; geometric in between.
        seed: Of the batches.
        factors: (p,) penalty factors, by default 1.
    """
    by_column = penalty * (np.ones(rows.z.shape[1]) if factors is None else factors)
    generator = np.random.default_rng(seed)
    coefficients = np.zeros(rows.z.shape[1])
    for rate in np.geomspace(first_step, last_step, rounds) / rows.z.shape[1]:
        updates = []
        for site in sites:
            b = coefficients.copy()
            for _ in range(epochs):
                order = generator.permutation(site)
                for start in range(0, len(order), batch_size):
                    batch = order[start : start + batch_size]
                    z = rows.z[batch]
                    slope = z.T @ (z @ b - rows.y[batch]) / len(batch)
                    b -= rate * (slope + by_column * (l1_ratio * np.sign(b) + (1 - l1_ratio) * b))
            updates.append(b)
        coefficients = np.average(updates, axis=0, weights=[len(site) for site in sites])
    return coefficients


def pooled_mlp(cohorts: Sequence[Cohort], like: MlpClock, rounds: int, seed: int) -> MlpClock:
    """The network of a federated clock, trained on the pooled rows with the same inputs and as many epochs in all.

    Args:
        cohorts: Training samples of all DIZ.
        like: The federated clock.
        rounds: Its rounds.
        seed: Of the first weights and the batches.
    """
    import torch  # noqa: PLC0415 -- seconds to import

    recipe = mlp.Recipe(**like.recipe)
    betas = np.concatenate([cohort.betas for cohort in cohorts])[:, like.columns]
    target = np.concatenate([cohort.target for cohort in cohorts])
    z = np.nan_to_num((betas - like.centre) / like.scale, nan=0.0)
    start = mlp.initial_weights(len(like.columns), recipe, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        longer = replace(recipe, epochs=recipe.epochs * rounds)
        arrays, _ = mlp.train(start, z, (target - like.y_centre) / like.y_scale, longer)
    return replace(like, arrays=arrays)


def published_ages(clock: PublishedClock, cpgs: Sequence[str], betas: Float) -> tuple[Float, int]:
    """Ages by a published clock, and how many of its CpGs the panel has.

    Args:
        clock: Coefficients by CpG.
        cpgs: The panel's CpGs.
        betas: (n, p) in the panel's order.

    Returns:
        (n,) years; a CpG that the panel lacks, or a missing value, is the mean beta of public 450k arrays.
    """
    column = {cpg: j for j, cpg in enumerate(cpgs)}
    means = average_betas(list(clock.coefficients))
    value = np.full(len(betas), clock.intercept)
    present = 0
    for (cpg, coefficient), mean in zip(clock.coefficients.items(), means, strict=True):
        if cpg in column:
            present += 1
            value += coefficient * np.nan_to_num(betas[:, column[cpg]], nan=mean)
        else:
            value += coefficient * mean
    return horvath.inverse(value), present
