"""Manhattan and QQ plots: what is drawn where, of few tests and of millions."""

import time
import warnings

import numpy as np
import pytest
from flame_strategies.genomic_control import inflation
from gwas import plots
from gwas.clumping import loci
from gwas.manhattan import BREAK, Axis, height, manhattan, value
from gwas.qq import band, points, qq
from matplotlib.image import imread
from numpy.testing import assert_allclose
from scipy import stats

from tests.use_cases.gwas.scans import genome, panel_of, scan

RED, BLUE = np.array([0xD5, 0x5E, 0x00]) / 255, np.array([0x00, 0x72, 0xB2]) / 255


def pixels(path, colour):
    """(k, 2) places in a picture, row and column from the bottom left, of pixels of this colour."""
    picture = imread(path)[::-1, :, :3]
    return np.argwhere(np.abs(picture - colour).max(axis=2) < 0.02)


def of(associations):
    return inflation(lambda: (part["log10p"] for part in associations.tested(("log10p",))))


@pytest.fixture
def drawn(tmp_path):
    def draw(panel, z, width=20_000):
        associations = scan(tmp_path, panel, z, width)
        found = of(associations)
        entries = [
            manhattan(tmp_path, associations, panel, loci(associations, panel), found.largest),
            qq(tmp_path, associations, found.tests, found.largest, found.inflation),
        ]
        return tmp_path, entries

    return draw


def test_variants_lie_at_their_places_and_significant_ones_are_red(drawn):
    panel = genome(20_000)
    z = np.random.default_rng(0).normal(size=20_000).clip(-4, 4)
    middle = panel.stretches()[10]
    z[sum(middle) // 2] = 7.0

    folder, entries = drawn(panel, z)

    assert [entry["file"] for entry in entries] == ["plots/manhattan.png", "plots/qq.png"]
    red, blue = (pixels(folder / "plots" / "manhattan.png", colour) for colour in (RED, BLUE))
    assert 4 <= len(red) < 100  # one dot
    axis = Axis.of(panel)
    x = axis.x(panel.chromosome[[sum(middle) // 2]], panel.position[[sum(middle) // 2]])[0]
    left, right = blue[:, 1].min(), blue[:, 1].max()  # chromosome 1 is blue, and so is 21, just before the end
    end = axis.offset[21] - 0.004
    assert np.median(red[:, 1]) == pytest.approx(left + x / end * (right - left), abs=6)
    assert red[:, 0].min() > blue[:, 0].max()
    assert len(blue) > 10_000


def test_pictures_of_the_same_numbers_are_the_same_bytes(drawn, tmp_path):
    panel = genome(3000)
    z = np.random.default_rng(0).normal(size=3000)
    folder, _ = drawn(panel, z)
    before = {path.name: path.read_bytes() for path in (folder / "plots").iterdir()}

    drawn(panel, z)

    assert before == {path.name: path.read_bytes() for path in (folder / "plots").iterdir()}


@pytest.mark.parametrize("extreme", [3.0, 40.0, 200.0])
def test_any_range_of_p_values_can_be_drawn(drawn, extreme):
    panel = panel_of([3, 3, 3], [10, 20, 30])

    folder, _ = drawn(panel, np.array([0.0, 1.0, extreme]))

    assert len(pixels(folder / "plots" / "manhattan.png", RED)) > 0 or extreme < 5


def test_the_axis_is_the_value_up_to_the_break_and_has_no_kink():
    values = np.linspace(0, 500, 2001)

    assert (height(values)[values <= BREAK] == values[values <= BREAK]).all()
    assert np.allclose(value(height(values)), values, rtol=1e-12)
    slope = np.diff(height(np.array([BREAK - 1e-6, BREAK, BREAK + 1e-6])))
    assert slope[0] == pytest.approx(slope[1], rel=1e-5)


def test_chromosomes_lie_side_by_side():
    panel = genome(5000)
    axis = Axis.of(panel)

    x = axis.x(panel.chromosome, panel.position)

    assert (np.diff(x) >= 0).all()
    assert x[0] == 0
    assert x[-1] == pytest.approx(1, abs=1e-6)
    assert [start for start, _ in panel.stretches()] == [0, *(np.flatnonzero(np.diff(x) > 0.0039) + 1)]


@pytest.mark.parametrize("tests", [2, 50, 10_000, 10_000_000])
def test_the_band_is_that_of_the_ordered_uniform_numbers(tests):
    x, low, high = band(tests)

    rank = np.round(10**-x * tests + 0.5)
    for found, share in ((low, 0.975), (high, 0.025)):
        true = -np.log10(stats.beta.ppf(share, rank, tests - rank + 1))
        assert np.abs(found - true).max() < 0.02 * (1 + true.max())


@pytest.mark.parametrize("size", [1, 300, 30_000])
def test_the_points_of_the_qq_plot_are_the_ordered_tests(tmp_path, size):
    z = 1.2 * np.random.default_rng(5).normal(size=size)
    associations = scan(tmp_path, genome(size), z)
    ordered = np.sort(np.concatenate([part["log10p"] for part in associations.tested()]))[::-1]

    expected, observed = points(associations, size, 400.0)

    true = -np.log10((np.arange(size) + 0.5) / size)
    assert_allclose(observed[:2000], ordered[:2000], rtol=1e-12)
    assert_allclose(expected[:2000], true[:2000], rtol=1e-12)
    assert np.abs(np.interp(observed, ordered[::-1], true[::-1]) - expected).max() < 0.003
    assert len(observed) == min(size, 2000) or 2000 < len(observed) < size
    assert observed.min() < 0.001 or size == 1


def test_counts_become_a_roc_curve_and_bins_a_calibration_line(tmp_path):
    counts = np.array([[5, 1], [3, 3], [1, 6]])
    tenths = np.column_stack([np.arange(10), np.arange(10) * 0.5, np.arange(10) * 0.4])

    entries = [
        plots.roc(tmp_path, counts, 0.8),
        plots.calibration(tmp_path, tenths, "trait"),
        plots.penalties(tmp_path, np.array([1.0, 0.1]), np.array([2.0, 1.0]), 2.5, 1),
    ]

    for entry in entries:
        assert (tmp_path / entry["file"]).read_text().startswith("<?xml")
    assert "area 0.800" in (tmp_path / "plots" / "roc.svg").read_text()


@pytest.mark.slow
def test_two_million_tests_make_a_picture_of_the_same_size(drawn):
    panel = genome(2_000_000)
    z = np.random.default_rng(0).normal(size=2_000_000)
    z[1_000_000] = 12.0
    begun = time.monotonic()

    folder, _ = drawn(panel, z, width=100_000)

    warnings.warn(f"two million tests made and drawn in {time.monotonic() - begun:.1f} s", stacklevel=1)
    picture = imread(folder / "plots" / "manhattan.png")
    assert picture.shape[:2] == (690, 1800)
    assert 4 <= len(pixels(folder / "plots" / "manhattan.png", RED)) < 100
    assert (folder / "plots" / "manhattan.png").stat().st_size < 1_000_000
