"""Poisson sampling: the probability is q exactly, and patients are independent. False alarms below 1e-8 per test."""

import numpy as np
import pytest
from flame_vetted import sampling
from flame_vetted.sampling import poisson_sample
from scipy import stats

from tests.support.statistics import ALPHA

N = 400_000


@pytest.mark.parametrize("q", [0.001, 0.025, 0.3, 1 / 3, 0.9])
def test_a_patient_is_chosen_with_probability_q(q: float) -> None:
    """Binomial test at ALPHA = 1e-9."""
    assert stats.binomtest(len(poisson_sample(N, q)), N, q).pvalue > ALPHA


@pytest.mark.parametrize("wrong", [0.9, 1.1])
def test_a_rate_that_is_a_tenth_off_is_rejected(wrong: float) -> None:
    """At q = 0.025 the difference is 10 standard errors, the test rejects beyond 6.1: power above 1 - 1e-4."""
    assert stats.binomtest(len(poisson_sample(N, 0.025 * wrong)), N, 0.025).pvalue <= ALPHA


def test_the_batch_size_varies_as_it_must() -> None:
    """A batch of fixed size, or one draw for several patients, would have another variance. Chi-square at 1e-9."""
    q, patients, batches = 0.1, 500, 2000
    sizes = np.array([len(poisson_sample(patients, q)) for _ in range(batches)])
    statistic = float(np.sum((sizes - patients * q) ** 2) / (patients * q * (1 - q)))
    tails = stats.chi2(batches)
    assert min(tails.cdf(statistic), tails.sf(statistic)) > ALPHA / 2


def test_patients_are_uncorrelated() -> None:
    pairs = np.array([np.isin([0, 1], poisson_sample(2, 0.5)) for _ in range(20_000)])
    both = int(np.count_nonzero(pairs.all(axis=1)))
    assert stats.binomtest(both, len(pairs), 0.25).pvalue > ALPHA


class TestExactComparison:
    """With handed-in random words: what is compared is the binary expansion of q, to its last bit."""

    def chosen(self, q: float, words: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> list[int]:
        drawn = iter(words)

        def handed(count: int) -> np.ndarray:
            word = next(drawn)
            assert len(word) == count
            return np.array(word, dtype=np.uint64)

        monkeypatch.setattr(sampling, "_random_words", handed)
        found = poisson_sample(len(words[0]), q).tolist()
        assert next(drawn, None) is None
        return found

    def test_below_is_in_and_equal_or_above_is_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        half = 1 << 63
        assert self.chosen(0.5, [[0, half - 1, half, half + 1]], monkeypatch) == [0, 1]

    def test_who_is_equal_so_far_is_decided_by_the_next_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        q = 2.0**-70 + 2.0**-100  # digits 0, then 2^58 + 2^28
        second = (1 << 58) + (1 << 28)
        assert self.chosen(q, [[0, 1, 0, 0], [second - 1, second, second + 1]], monkeypatch) == [0]

    def test_a_certain_patient_is_always_in(self) -> None:
        assert poisson_sample(5, 1.0).tolist() == [0, 1, 2, 3, 4]

    def test_nobody_is_nobody(self) -> None:
        assert poisson_sample(0, 0.5).tolist() == []

    @pytest.mark.parametrize("q", [0.0, -0.1, 1.1])
    def test_what_is_no_probability_is_refused(self, q: float) -> None:
        with pytest.raises(ValueError, match="sample_rate"):
            poisson_sample(3, q)
