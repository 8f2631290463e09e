"""Separated variants: seen in the counts where these show it, else by a fit that does not end; then Firth's test."""

import numpy as np
import pytest
from flame_strategies.logistic_scan import MOST_EVALUATIONS
from gwas.results import FIRTH, LOGISTIC, NOT_CONVERGED, OK, RARE
from gwas.site import Request
from gwas.site_logistic import gwas_logistic

from tests.support.penalised import firth
from tests.use_cases.gwas.logistic_study import Study, asked, changed, settings_of, study
from tests.use_cases.gwas.test_logistic import tabled


def carriers(of: Study, who: np.ndarray, copies: int = 1, others: int = 0) -> Study:
    """The study with such patients as the carriers of variant 0, every call known."""
    of.calls[:, 0] = np.where(who, copies, others)
    return of


CELLS = {
    "no copies in controls": lambda of: (of.disease == 2) & (of.age > 60),
    "no copies in cases": lambda of: (of.disease == 1) & (of.age > 60),
    "no ref in controls": lambda of: (of.disease == 1) | (of.age > 60),
    "no ref in cases": lambda of: (of.disease == 2) | (of.age > 60),
}


@pytest.mark.parametrize("missing", ["exclude", "impute"])
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_an_empty_cell_is_seen_in_the_first_exchange(cell, missing):
    of = study(m=3)
    who = CELLS[cell](of) & of.complete()
    carriers(of, who, copies=2 if "ref" in cell else 1)
    of.calls[::25, 0] = -1  # imputed, these would be the only cases or controls of their kind, by a fraction of a copy
    exchange = asked(of, missing=missing)
    table = tabled(of, exchange)
    rows = [count for query, count in exchange.seen if query == "gwas_logistic"]
    assert rows[:2] == [3, 2]
    assert table["test"].tolist() == [FIRTH, LOGISTIC, LOGISTIC]
    estimate, error, _ = firth(*of.pooled(0, impute=missing == "impute"))
    assert table["beta"][0] == pytest.approx(estimate[-1], rel=1e-9)
    assert table["se"][0] == pytest.approx(error[-1], rel=1e-9)


def quasi_separated() -> Study:
    """Carriers outside batch 1 are cases, others in it controls, and the rest are of both kinds.

    Every cell has people, and neither genotype nor batch tells the outcome by itself.
    """
    of = study(m=3)
    of = carriers(of, (of.calls[:, 0] > 0) & (np.arange(500) % 3 == 0))
    carrier, batch = of.calls[:, 0] > 0, of.batch == 1
    disease = np.where(carrier & ~batch, 2.0, np.where(~carrier & batch, 1.0, of.disease))
    return changed(of, disease=disease)


@pytest.mark.parametrize("min_total", [1, 10])
def test_a_separation_that_no_count_shows_ends_in_firth_s_test(min_total):
    of = quasi_separated()
    exchange = asked(of, missing="impute", min_total=min_total)
    table = tabled(of, exchange)
    assert 8 < sum(query == "gwas_logistic" for query, _ in exchange.seen) < MOST_EVALUATIONS
    assert table["status"].tolist() == [OK] * 3
    assert table["test"][0] == FIRTH
    estimate, error, _ = firth(*of.pooled(0, impute=True))
    assert table["beta"][0] == pytest.approx(estimate[-1], rel=1e-9)
    assert table["se"][0] == pytest.approx(error[-1], rel=1e-9)
    assert tabled(of, asked(of, missing="impute", firth="no"))["status"][0] == NOT_CONVERGED


def test_a_test_that_needs_coefficients_beyond_the_limit_is_none():
    """Age and genotype tell the outcome of all 500: even Firth's coefficient of age is above 30 per standard deviation.

    Age alone leaves 15 years of both kinds, so there is a model without the variant.
    """
    of = study(m=3)
    of = carriers(of, of.calls[:, 0] > 0)
    of = changed(of, disease=np.where(of.age + 15 * (of.calls[:, 0] > 0) > 62, 2.0, 1.0))
    assert firth(*of.pooled(0))[0][1] > 30
    table = tabled(of, asked(of))
    assert table["status"].tolist() == [NOT_CONVERGED, OK, OK]
    assert np.isnan(table["beta"][0])


def test_a_strong_effect_is_no_separation():
    """Odds ratio of a thousand: carriers are almost all cases."""
    of = study(m=1, n=2000)
    draw = np.random.default_rng(0).random(2000)
    disease = np.where(draw < np.where(of.calls[:, 0] > 0, 0.99, 0.09), 2.0, 1.0)
    table = tabled(of2 := changed(of, disease=disease), asked(of2, min_total=10, missing="impute"))
    assert table["test"].tolist() == [LOGISTIC]
    assert table["beta"][0] > 4


def test_few_samples_without_a_call_are_not_told_from_all():
    """Their sums would be the difference of two variants'; nothing of such a variant leaves. Many are told apart."""
    of = study(m=30, n=3000)
    of.calls[:, 0] = np.maximum(of.calls[:, 0], 0)
    one = int(np.flatnonzero(of.complete())[0])
    of.calls[one, 1:4] = -1
    of.calls[:, 1:4] = np.where(np.arange(3000)[:, None] == one, -1, np.maximum(of.calls[:, 1:4], 0))
    known = np.maximum(of.calls[:, 4:8], 0)
    of.calls[:, 4:8] = np.where(np.arange(3000)[:, None] % 20 == 0, -1, known)

    table = tabled(of, asked(of, min_total=10))
    assert table["status"][:8].tolist() == [OK] + [RARE] * 3 + [OK] * 4
    assert table["n"][1:4].tolist() == [0] * 3
    assert (tabled(of, asked(of, min_total=10, missing="impute"))["status"][:8] == OK).all()


def test_the_sums_of_all_do_not_show_who_lacks_a_call():
    """At the null model the columns' part is that of everybody, whose call is missing or not."""
    of = study(m=2)
    of.calls[:, 0] = np.maximum(of.calls[:, 0], 0)
    of.calls[:, 1] = of.calls[:, 0]
    of.calls[int(np.flatnonzero(of.complete() & (of.owner == 1))[0]), 1] = -1
    message = {"index": np.arange(2), "coefficients": np.zeros((2, 5)), **of.design()}
    answer = gwas_logistic(of.sites()[0], Request({"start": 0, "stop": 2}, message), settings_of())
    columns = np.flatnonzero(np.triu_indices(5)[1] < 4)
    np.testing.assert_array_equal(answer["hessian"][0, columns], answer["hessian"][1, columns])
    np.testing.assert_array_equal(answer["gradient"][0, :4], answer["gradient"][1, :4])
    assert answer["classes"][0, 3:].tolist() == [0] * 10  # the levels of batch, controls and cases, twice
    assert answer["classes"][1, 3:].sum() == 2  # one level, and one of controls and cases
