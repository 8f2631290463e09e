"""Clumps against PLINK, and what holds for any of them."""

import numpy as np
import pytest
from gwas.clumping import best, clump, loci
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.use_cases.gwas.scans import panel_of, scan

LINES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3000), st.floats(0, 30)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(LINES, st.integers(0, 2), st.floats(0, 5))
def test_clumps_by_position_take_each_variant_once_and_leads_lie_apart(lines, kb, least):
    lines = sorted(lines)
    chromosome, position, p = (np.array([line[column] for line in lines]) for column in range(3))

    found = clump(chromosome, position, p, kb=kb, at_least=least)

    taken = [row for of in found for row in (of.lead, *of.members)]
    assert len(set(taken)) == len(taken)
    assert [p[of.lead] for of in found] == sorted((p[of.lead] for of in found), reverse=True)
    for of in found:
        assert p[of.lead] >= least
        for row in of.members:
            assert chromosome[row] == chromosome[of.lead]
            assert abs(position[row] - position[of.lead]) < 1000 * kb
            assert p[row] <= p[of.lead]
        for other in found:
            apart = chromosome[other.lead] != chromosome[of.lead]
            assert of is other or apart or abs(position[other.lead] - position[of.lead]) >= 1000 * kb
    assert {row for row in range(len(lines)) if p[row] >= least} <= set(taken)


def test_correlation_decides_within_the_distance():
    square = np.array([[1, 0.9, 0.1, 0], [0.9, 1, 0.1, 0], [0.1, 0.1, 1, 0.95], [0, 0, 0.95, 1]])

    found = clump([1] * 4, [100, 200, 300, 5000], [9, 8, 7, 6], kb=1, r2=0.5, correlation=lambda i, at: square[i, at])

    assert [(of.lead, of.members) for of in found] == [(0, (1,)), (2, ()), (3, ())]


def test_nothing_is_clumped_where_nothing_is_clear():
    assert clump([1, 1], [1, 2], [2.0, np.nan], kb=1, at_least=5) == []
    assert clump([], [], [], kb=1) == []


@pytest.fixture
def peaks(tmp_path):
    """5,000 variants of two chromosomes with three signals."""
    position = np.tile(np.arange(1, 2501) * 10_000, 2)
    panel = panel_of(np.repeat([1, 2], 2500), position)
    z = np.random.default_rng(1).normal(size=5000).clip(-3, 3)
    z[[100, 105, 110]] = [6.0, 7.0, -5.5]
    z[[1000, 3000]] = [5.0, 9.0]
    return scan(tmp_path, panel, z), panel


def test_loci_are_the_signals_with_their_extent(peaks):
    found = loci(*peaks)

    assert [locus.index for locus in found] == [3000, 105, 1000]
    assert [locus.variants for locus in found] == [1, 3, 1]
    assert (found[1].start, found[1].stop) == (1_010_000, 1_110_000)
    assert found[1].row["beta"] == pytest.approx(0.07)
    assert found[1].row["sites"] == 5


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_of_too_many_the_clearest_are_kept_in_the_panel_s_order(peaks, most):
    table = best(peaks[0], ("beta",), 1e-5, most)

    beta = {3000: 0.09, 105: 0.07, 100: 0.06, 110: -0.055, 1000: 0.05}
    kept = sorted(list(beta)[:most])
    assert table["index"].tolist() == kept
    assert table["beta"].tolist() == pytest.approx([beta[row] for row in kept])
    assert len(best(peaks[0], (), 1e-30, most)["index"]) == 0
