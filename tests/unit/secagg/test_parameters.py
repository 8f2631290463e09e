"""Which numbers of sites, losses and colluders go together."""

import pytest

from flame_fl.secagg.errors import MaskError
from flame_fl.secagg.parameters import MOST_SITES, Parameters, flaw, threshold


@pytest.mark.parametrize(
    ("sites", "colluding", "needed"), [(3, 0, 2), (4, 0, 3), (4, 1, 3), (4, 2, 4), (5, 0, 3), (5, 1, 4), (10, 3, 7)]
)
def test_the_threshold_is_the_smallest_number_above_half_of_n_and_c(sites: int, colluding: int, needed: int) -> None:
    assert threshold(sites, colluding) == needed


@pytest.mark.parametrize(("sites", "dropouts", "colluding"), [(3, 0, 0), (3, 0, 1), (4, 0, 2), (4, 1, 1), (5, 2, 0)])
def test_terms_that_hold(sites: int, dropouts: int, colluding: int) -> None:
    assert flaw(sites, dropouts, colluding) == ""
    Parameters(sites, dropouts, colluding).check()


@pytest.mark.parametrize(
    ("sites", "dropouts", "colluding", "why"),
    [
        (2, 0, 0, "needs 3 to 1000 sites"),
        (MOST_SITES + 1, 0, 0, "needs 3 to 1000 sites"),
        (5, -1, 0, "no negative"),
        (5, 0, -1, "no negative"),
        (3, 1, 0, "3 are the fewest"),
        (3, 0, 2, "3 must answer|4 are the fewest"),
        (4, 1, 2, "at most 0 may drop out, not 1"),
        (5, 3, 0, "at most 2 may drop out, not 3"),
        (4, 0, 3, "5 are the fewest"),
    ],
)
def test_terms_that_do_not(sites: int, dropouts: int, colluding: int, why: str) -> None:
    assert flaw(sites, dropouts, colluding)
    with pytest.raises(MaskError, match=why):
        Parameters(sites, dropouts, colluding).check()


def test_every_rule_follows_from_the_terms_that_are_allowed() -> None:
    """Exhaustively: two thresholds never fit into what a hub can be sent, and what is left holds two honest sites."""
    checked = 0
    for sites in range(3, 26):
        for dropouts in range(sites + 1):
            for colluding in range(sites + 1):
                if flaw(sites, dropouts, colluding):
                    continue
                terms = Parameters(sites, dropouts, colluding)
                assert 2 * terms.threshold > (sites - colluding) + 2 * colluding
                assert terms.threshold - 1 <= (sites + colluding) / 2
                assert terms.fewest >= terms.threshold
                assert terms.fewest >= 3
                assert terms.honest == terms.fewest - colluding >= 2
                assert colluding < terms.threshold
                checked += 1
    assert checked > 500


def test_what_holds_for_n_holds_for_every_larger_n() -> None:
    for sites in range(3, 20):
        for dropouts in range(sites):
            for colluding in range(sites):
                if not flaw(sites, dropouts, colluding):
                    assert flaw(sites + 1, dropouts, colluding) == ""
