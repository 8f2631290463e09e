"""Logistic and Firth tests beside those of PLINK 2.00a3 on the pooled samples.

Its logistic regression is in single precision and prints six digits. Its Firth regression stops early: at what it
prints, a further step would go on by up to a thousandth, towards the maximum that is found here, and the penalised
likelihood is still below that maximum. The results are frozen; where PLINK 2 is installed it is asked again.
"""

import numpy as np
import pandas as pd
import pytest
from gwas.results import FIRTH, LOGISTIC, NOT_CONVERGED, OK

from tests.support.penalised import firth, penalised
from tests.use_cases.gwas.freeze_logistic import MODES, TERMS, frozen, plink2, the_study
from tests.use_cases.gwas.logistic_study import asked
from tests.use_cases.gwas.test_logistic import tabled

OUR_WORD = {"no-firth": "no", "firth-fallback": "fallback", "firth": "always"}

PRINTED = 1e-5
"""Six digits, of numbers in single precision."""


def ours(mode: str) -> dict[str, np.ndarray]:
    of = the_study()
    return tabled(of, asked(of, firth=OUR_WORD[mode]))


def theirs(mode: str) -> pd.DataFrame:
    found = pd.read_csv(frozen(mode), sep="\t", dtype={"ERRCODE": str})
    return found[found["TEST"] == "ADD"].reset_index(drop=True)


@pytest.mark.parametrize("mode", MODES)
def test_counts_are_plink_s(mode):
    table, plink = ours(mode), theirs(mode)
    np.testing.assert_array_equal(table["n"], plink["OBS_CT"])
    np.testing.assert_array_equal(table["alt_count"], plink["A1_CT"])


@pytest.mark.parametrize("mode", ["no-firth", "firth-fallback"])
def test_logistic_tests_are_plink_s_to_the_digits_it_prints(mode):
    table, plink = ours(mode), theirs(mode)
    plain = table["test"] == LOGISTIC
    assert plain.sum() >= 70
    for name, column in (("beta", "BETA"), ("se", "SE"), ("stat", "Z_STAT")):
        np.testing.assert_allclose(table[name][plain], plink[column][plain], rtol=PRINTED)
    np.testing.assert_allclose(table["p"][plain], plink["P"][plain], rtol=3 * PRINTED)  # z is an exponent there


def test_without_firth_what_plink_calls_separated_has_no_test():
    table, plink = ours("no-firth"), theirs("no-firth")
    separated = plink["ERRCODE"].str.startswith("SEPARATION").to_numpy()
    assert separated.any()
    np.testing.assert_array_equal(table["status"], np.where(separated, NOT_CONVERGED, OK))


def test_firth_s_method_takes_over_where_it_does_in_plink():
    table, plink = ours("firth-fallback"), theirs("firth-fallback")
    assert (table["status"] == OK).all()
    np.testing.assert_array_equal(table["test"] == FIRTH, plink["FIRTH?"] == "Y")


@pytest.mark.parametrize("mode", ["firth-fallback", "firth"])
def test_firth_tests_are_plink_s_to_where_it_stops(mode):
    table, plink = ours(mode), theirs(mode)
    for name, column, digits in (("beta", "BETA", 1e-3), ("se", "SE", 5e-4), ("stat", "Z_STAT", 1e-3)):
        np.testing.assert_allclose(table[name], plink[column], rtol=0, atol=digits)
    np.testing.assert_allclose(table["p"], plink["P"], atol=5e-4)


def test_where_plink_s_firth_stops_it_is_on_its_way_here():
    """The step that is left at its result is below a thousandth, and as long as the distance from here."""
    of, table = the_study(), ours("firth")
    printed = pd.read_csv(frozen("firth"), sep="\t").pivot(index="#ID", columns="TEST", values="BETA")
    short = []
    for variant in range(of.calls.shape[1]):
        at = printed.loc[f"v{variant}", list(TERMS)].to_numpy(dtype=np.float64)
        x, y = of.pooled(variant)
        value, score, _, inverse = penalised(x, y, at)
        step = inverse @ score
        distance = table["beta"][variant] - at[-1]
        assert np.abs(step).max() < 1e-3
        assert distance == pytest.approx(step[-1], rel=0.5, abs=1e-5)
        short.append(firth(x, y)[2] - value)
    assert min(short) > -1e-10  # nowhere is PLINK 2 above the maximum, but for rounding
    assert 1e-8 < max(short) < 1e-6


@pytest.mark.peer
@pytest.mark.parametrize("mode", MODES)
def test_plink_2_still_says_what_is_frozen(mode, tmp_path):
    now = plink2(the_study(), tmp_path, mode)
    then = pd.read_csv(frozen(mode), sep="\t", dtype={"ERRCODE": str})
    assert now["#ID"].tolist() == then["#ID"].tolist()
    for column in ("OBS_CT", "A1_CT", "BETA", "SE", "Z_STAT", "P"):
        np.testing.assert_allclose(now[column].astype(float), then[column], rtol=1e-4, atol=1e-5, equal_nan=True)
