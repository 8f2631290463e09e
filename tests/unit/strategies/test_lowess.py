"""Lowess against R's, and where R is not there against statsmodels' and known numbers."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from flame_strategies.lowess import lowess
from numpy.testing import assert_allclose, assert_array_equal
from statsmodels.nonparametric.smoothers_lowess import lowess as statsmodels_lowess

SCRIPT = Path(__file__).with_name("lowess.R")

# speed and stopping distance of 50 cars (Ezekiel, "Methods of Correlation Analysis", 1930)
SPEED = """4 4 7 7 8 9 10 10 10 11 11 12 12 12 12 13 13 13 13 14 14 14 14 15 15 15 16 16 17 17 17 18 18 18 18 19 19 19
20 20 20 20 20 22 23 24 24 24 24 25"""
DISTANCE = """2 10 4 22 16 10 18 26 34 17 28 14 20 24 28 26 34 34 46 26 36 60 80 20 26 54 32 40 32 40 50 42 56 76 84 36
46 68 32 48 52 56 64 66 54 70 92 93 120 85"""


def points(n, seed, digits):
    """A bend with heavy-tailed errors; rounding gives ties."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(8, 2, n), digits)
    return x, 1 / (1 + x**2) + 0.1 * rng.standard_t(2, n)


def test_equals_what_r_gives_for_its_cars():
    """lowess(cars) in R 4.2.2 at the first, a middle and the last speed."""
    speed = np.array(SPEED.split(), dtype=np.float64)
    x, line = lowess(speed, np.array(DISTANCE.split(), dtype=np.float64), span=2 / 3)
    assert_array_equal(x, speed)
    expected = [4.9654592771868815, 36.7577283416497167, 84.3286980968341879]
    assert_allclose([line[0], line[25], line[49]], expected, rtol=1e-14)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize(("n", "digits"), [(50, 1), (3000, 2), (8000, 12)])
@pytest.mark.parametrize(("span", "iterations"), [(0.5, 3), (0.2, 0)])
def test_equals_r(tmp_path, n, digits, span, iterations):
    program = shutil.which("Rscript")
    if program is None:
        text = "Rscript is not installed: apt-get install r-base-core"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    x, y = points(n, n, digits)
    np.savetxt(tmp_path / "points.txt", np.column_stack([x, y]), fmt="%.17g")
    files = [str(tmp_path / "points.txt"), str(span), str(iterations), str(tmp_path / "line.txt")]
    subprocess.run([program, str(SCRIPT), *files], check=True)
    expected = np.loadtxt(tmp_path / "line.txt")
    found = lowess(x, y, span=span, iterations=iterations)
    assert_array_equal(found[0], expected[:, 0])
    assert_allclose(found[1], expected[:, 1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("digits", [1, 12])
def test_is_near_statsmodels(digits):
    """A port of the same algorithm that treats edges of neighbourhoods a little differently."""
    x, y = points(400, 3, digits)
    expected = statsmodels_lowess(y, x, frac=0.5, it=3, delta=0.01 * np.ptp(x))
    assert_allclose(lowess(x, y, span=0.5)[1], expected[:, 1], atol=1e-4)


def test_a_straight_line_stays_one():
    x = np.array([5.0, 1, 2, 9, 4, 4, 7, 12])
    found = lowess(x, 3 * x - 2, span=0.6)
    assert_allclose(found[1], 3 * np.sort(x) - 2, rtol=1e-13)


def test_one_wild_value_does_not_bend_the_line():
    x = np.arange(40.0)
    y = 0.5 * x + 0.1 * np.cos(7 * x)
    wild = np.where(x == 20, 60.0, y)
    assert_allclose(lowess(x, wild)[1], lowess(x, y)[1], rtol=0, atol=0.01)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points(count):
    x = np.arange(count, dtype=float)
    assert_allclose(lowess(x, 2 * x)[1], 2 * x, atol=1e-14)


@pytest.mark.parametrize(("x", "y", "span"), [([], [], 0.5), ([1.0], [1.0, 2.0], 0.5), ([1.0], [1.0], 0.0)])
def test_unusable_points(x, y, span):
    with pytest.raises(ValueError, match="as many x as y"):
        lowess(x, y, span=span)
