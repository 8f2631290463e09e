"""Membership inference: figures against definitions, scikit-learn and SciPy; intervals by how often they miss."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import stats

from flame_fl.privacy.membership import Attack, clopper_pearson, likelihood_ratios, measure, roc
from flame_fl.privacy.risk import gaussian_risk

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=25).map(np.array)


def gaussians(mu: float, members: int, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(mu, 1, members), rng.normal(0, 1, held_out)


@given(members=SCORES, held_out=SCORES)
def test_the_auroc_is_the_chance_that_a_member_scores_higher(members: np.ndarray, held_out: np.ndarray) -> None:
    above = members[:, None] > held_out
    ties = members[:, None] == held_out
    assert measure(members, held_out).auroc == pytest.approx(float((above + ties / 2).mean()))


@given(members=SCORES, held_out=SCORES)
def test_every_threshold_is_on_the_curve_and_nothing_else(members: np.ndarray, held_out: np.ndarray) -> None:
    false, true = roc(members, held_out)
    wanted = {(0.0, 0.0)} | {
        (float((held_out >= t).mean()), float((members >= t).mean())) for t in np.concatenate([members, held_out])
    }
    assert set(zip(false.tolist(), true.tolist(), strict=True)) == wanted
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()


@given(members=SCORES, held_out=SCORES, fpr=st.sampled_from([0.01, 0.1, 0.3]))
def test_the_threshold_keeps_false_alarms_and_finds_most_members(
    members: np.ndarray, held_out: np.ndarray, fpr: float
) -> None:
    attack = measure(members, held_out, fpr=fpr)
    assert attack.fpr <= fpr
    best = [float((members >= t).mean()) for t in [*members, *held_out, 9.0] if (held_out >= t).mean() <= fpr]
    assert attack.tpr == pytest.approx(max(best))
    assert attack.tpr_interval[0] <= attack.tpr <= attack.tpr_interval[1]
    assert attack.auroc_interval[0] <= attack.auroc <= attack.auroc_interval[1]


def test_against_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    members, held_out = (np.round(part, 1) for part in gaussians(0.5, 300, 200, 1))
    truth = np.repeat([1, 0], [300, 200])
    area = float(roc_auc_score(truth, np.concatenate([members, held_out])))
    assert measure(members, held_out).auroc == pytest.approx(area)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 10), (1, 203), (150, 472), (4999, 5000)])
@pytest.mark.parametrize("confidence", [0.95, 0.999])
def test_clopper_and_pearson_against_beta_quantiles(successes: int, trials: int, confidence: float) -> None:
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = stats.beta.isf(tail, successes + 1, trials - successes) if successes < trials else 1.0
    assert clopper_pearson(successes, trials, confidence) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("mu", [0.0, 1.0, 2.5])
def test_the_areas_interval_misses_about_as_often_as_it_says(mu: float) -> None:
    """150 samples of 60 and 40 at 95 %: at most 16 misses, 3 standard errors above 7.5. Seeds are fixed."""
    truth = float(stats.norm.cdf(mu / math.sqrt(2)))
    missed = 0
    for seed in range(150):
        low, high = measure(*gaussians(mu, 60, 40, seed)).auroc_interval
        missed += not low <= truth <= high
    assert missed <= 16


def test_when_every_member_scores_higher_the_interval_is_not_a_point() -> None:
    attack = measure(np.arange(10.0) + 100, np.arange(5.0))
    assert attack.auroc == 1.0
    assert attack.auroc_interval == pytest.approx((0.025**0.2, 1.0))
    assert attack.tpr == 1.0


def test_with_few_held_out_the_threshold_is_known_to_be_loose() -> None:
    """Of 20 held out not one may be accused at 1 %, and that the true rate is as low as 1 % cannot be known."""
    attack = measure(*gaussians(0.0, 20, 20, 2))
    assert attack.fpr == 0.0
    assert attack.fpr_interval[1] > 0.15


def test_an_attack_at_the_limit_of_a_gaussian_claim_reaches_what_risk_says() -> None:
    """The two modules agree: scores of N(mu, 1) and N(0, 1) are the best attack on mu-Gaussian-DP."""
    attack, risk = measure(*gaussians(1.0, 50_000, 50_000, 3)), gaussian_risk(0.5)
    assert attack.tpr == pytest.approx(risk.tpr, abs=0.01)
    assert attack.advantage == pytest.approx(risk.advantage, abs=0.01)


class TestLikelihoodRatios:
    @staticmethod
    def shadows(n: int, count: int, leak: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Scores of one target and many shadows: each patient has a difficulty, and being in adds `leak`."""
        rng = np.random.default_rng(seed)
        difficulty = rng.normal(0, 3, n)
        inside = rng.random((count, n)) < 0.5
        inside[0], inside[1] = True, False
        member = rng.random(n) < 0.5
        target = difficulty + leak * member + rng.normal(0, 1, n)
        return target, difficulty + leak * inside + rng.normal(0, 1, (count, n)), inside, member

    def test_it_sees_through_how_hard_a_patient_is(self) -> None:
        """Difficulties differ more than membership does: the threshold guesses, the ratio does not."""
        target, shadow, inside, member = self.shadows(800, 32, 2.0, 4)
        ratio = likelihood_ratios(target, shadow, inside)
        assert measure(ratio[member], ratio[~member]).auroc > 0.88
        assert measure(target[member], target[~member]).auroc < 0.72

    def test_without_a_leak_it_finds_nothing(self) -> None:
        """At 95 % the interval holds ½; the seed is fixed."""
        target, shadow, inside, member = self.shadows(800, 32, 0.0, 5)
        low, high = (a := measure(*_split(likelihood_ratios(target, shadow, inside), member))).auroc_interval
        assert low < 0.5 < high, a

    def test_with_many_shadows_it_is_the_log_ratio_of_two_gaussians(self) -> None:
        target, shadow, inside, _ = self.shadows(40, 4000, 1.5, 6)
        difficulty = np.where(inside, shadow - 1.5, shadow).mean(axis=0)
        exact = stats.norm.logpdf(target, difficulty + 1.5) - stats.norm.logpdf(target, difficulty)
        np.testing.assert_allclose(likelihood_ratios(target, shadow, inside), exact, atol=0.5)

    def test_what_it_cannot_judge(self) -> None:
        observed, shadow = np.zeros(3), np.zeros((4, 3))
        with pytest.raises(ValueError, match="some of the shadow models"):
            likelihood_ratios(observed, shadow, np.ones((4, 3), dtype=bool))
        with pytest.raises(ValueError, match="same patients"):
            likelihood_ratios(np.zeros(2), shadow, np.zeros((4, 3), dtype=bool))
        with pytest.raises(ValueError, match="finite"):
            likelihood_ratios(np.full(3, np.nan), shadow, np.eye(4, 3, dtype=bool))

    @examples(max_examples=30)
    @given(scale=st.floats(0.1, 10), shift=st.floats(-10, 10))
    def test_units_do_not_matter(self, scale: float, shift: float) -> None:
        target, shadow, inside, _ = self.shadows(20, 8, 1.0, 7)
        one = likelihood_ratios(target, shadow, inside)
        np.testing.assert_allclose(
            likelihood_ratios(target * scale + shift, shadow * scale + shift, inside), one, atol=1e-6
        )


def _split(scores: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return scores[member], scores[~member]


def test_what_cannot_be_judged() -> None:
    good = np.arange(3.0)
    for members, held_out, fpr in [(good[:1], good, 0.01), (good, good[:1], 0.01), (good, good, 0.0)]:
        with pytest.raises(ValueError, match=r"at least|lie in"):
            measure(members, held_out, fpr=fpr)
    with pytest.raises(ValueError, match="finite"):
        measure(np.array([1.0, math.inf]), good)
    with pytest.raises(ValueError, match="number of trials"):
        clopper_pearson(3, 2)
    assert isinstance(measure(good, good), Attack)
