"""The claim of the use case, on the packaged brain set: accurate, and equal to pooled training."""

from pathlib import Path

import numpy as np
import pytest
from flame_strategies.sums import Content, Sums, add_up
from methylation_age import baselines, sums
from methylation_age.cohort import Store, load_store
from methylation_age.elastic_net_run import ElasticNetResult, ElasticNetSettings, run_elastic_net

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stores(brain: Path) -> list[Store]:
    return [load_store(brain / f"DIZ-{number}" / "methylation", "gse74193") for number in range(1, 6)]


@pytest.fixture(scope="module")
def fit(stores: list[Store]) -> ElasticNetResult:
    """The clock with the run config's default settings, over the DIZ's own code."""
    standardised: dict[int, sums.Folds] = {}

    def exchange(kind: str, content: Content) -> Sums:
        answers = {}
        for number, store in enumerate(stores):
            if kind == "query.moments":
                answers[number] = sums.moments(store.train)
                continue
            if kind == "query.target":
                reference = sums.Reference.from_arrays(content["reference"])
                standardised[number] = sums.split_folds(store.train, reference, content["folds"]["folds"])
                answers[number] = sums.target(standardised[number])
            else:
                answers[number] = sums.columns(standardised[number], content["reference"]["columns"])
        return add_up(answers)

    return run_elastic_net(exchange, ElasticNetSettings(l1_ratio=0.5, lambda_count=25, lambda_min_ratio=0.01, folds=5))


def test_accuracy(fit: ElasticNetResult, stores: list[Store]) -> None:
    """Test MAE at most 2.7 years and r at least 0.98."""
    age = np.concatenate([store.test.age for store in stores])
    predicted = np.concatenate([fit.clock.predict(store.test.betas[:, fit.clock.columns]) for store in stores])
    assert np.abs(predicted - age).mean() <= 2.7
    assert np.corrcoef(predicted, age)[0, 1] >= 0.98


def test_equality_with_pooled_training(fit: ElasticNetResult, stores: list[Store]) -> None:
    """Same CpGs, coefficients within 1e-6 of the largest, predictions within 1e-5 years of scikit-learn's solution."""
    rows = baselines.Standardised.of([store.train for store in stores])
    pooled, gap = baselines.pooled_elastic_net(rows, float(fit.path.lambdas[fit.chosen]), fit.settings.l1_ratio)
    assert gap < 1e-8
    federated = np.zeros_like(pooled)
    federated[fit.clock.columns] = fit.clock.coef
    federated *= rows.scale / rows.y_scale
    np.testing.assert_array_equal(federated != 0, pooled != 0)
    assert np.abs(federated - pooled).max() <= 1e-6 * np.abs(pooled).max()
    betas = np.concatenate([store.test.betas for store in stores])
    difference = fit.clock.predict(betas[:, fit.clock.columns]) - rows.ages(pooled, betas)
    assert np.abs(difference).max() <= 1e-5
