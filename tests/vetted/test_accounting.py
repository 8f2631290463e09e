"""What a vetted message costs: three accountants agree, published values come out, and the discrete noise fits them."""

import math

import numpy as np
import pytest
from dp_accounting import dp_event, pld, rdp
from scipy import special

ORDERS = [*range(2, 65), 80, 96, 128, 256, 512]
SETTINGS = [(0.025, 1.2, 1200), (0.01, 1.0, 1500), (0.1, 2.0, 100), (1.0, 20.0, 50)]
DELTA = 1e-5


def dp_sgd_event(q: float, z: float, steps: int) -> dp_event.DpEvent:
    """The event of one message, as in flame_vetted.dp_sgd's docstring."""
    return dp_event.SelfComposedDpEvent(dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(z)), steps)


def by_rdp(q: float, z: float, steps: int, orders: list[int] = ORDERS) -> float:
    accountant = rdp.RdpAccountant(orders)
    return float(accountant.compose(dp_sgd_event(q, z, steps)).get_epsilon(DELTA))


@pytest.mark.parametrize(("q", "z", "steps"), SETTINGS)
def test_dp_accountings_and_opacus_renyi_accountants_agree(q: float, z: float, steps: int) -> None:
    accountants = pytest.importorskip("opacus.accountants", reason="opacus is not installed: the second accountant")
    other = accountants.RDPAccountant()
    other.history = [(z, q, steps)]
    assert by_rdp(q, z, steps) == pytest.approx(other.get_epsilon(DELTA, alphas=ORDERS), rel=1e-6)


@pytest.mark.parametrize(("q", "z", "steps"), SETTINGS)
def test_the_tight_accountants_agree_and_stay_below_renyi(q: float, z: float, steps: int) -> None:
    accountants = pytest.importorskip("opacus.accountants", reason="opacus is not installed: the PRV accountant")
    tight = float(
        pld.PLDAccountant(value_discretization_interval=1e-3).compose(dp_sgd_event(q, z, steps)).get_epsilon(DELTA)
    )
    prv = accountants.PRVAccountant()
    prv.history = [(z, q, steps)]
    assert tight == pytest.approx(prv.get_epsilon(DELTA, eps_error=0.01), abs=0.02)
    assert tight <= by_rdp(q, z, steps)


def classic(q: float, z: float, steps: int, orders: list[float]) -> float:
    """The conversion of Abadi et al. 2016 (theorem 2) and Mironov 2017: min over a of R(a) + log(1/delta)/(a - 1)."""
    curve = rdp.RdpAccountant(orders).compose(dp_sgd_event(q, z, steps))._rdp
    return min(float(r) + math.log(1 / DELTA) / (a - 1) for a, r in zip(orders, curve, strict=True))


def test_the_value_of_abadi_et_al_comes_out() -> None:
    """Section 3.2: q = 0.01, sigma = 4, 10,000 steps, delta = 1e-5 give epsilon 1.26."""
    assert classic(0.01, 4.0, 10_000, [float(a) for a in ORDERS]) == pytest.approx(1.26, abs=0.005)
    assert by_rdp(0.01, 4.0, 10_000) < 1.26


@pytest.mark.parametrize(("z", "epochs", "published"), [(1.12, 60, 2.92), (0.6, 30, 9.74), (1.2, 10, 1.20)])
def test_the_values_of_tensorflow_privacys_tutorials_come_out(z: float, epochs: int, published: float) -> None:
    """The table in the tutorials' README: MNIST (60,000), batches of 256, delta = 1e-5, the older conversion."""
    orders = [1 + x / 10 for x in range(1, 100)] + [float(a) for a in range(12, 64)]
    steps = epochs * (60_000 // 256)
    assert classic(256 / 60_000, z, steps, orders) == pytest.approx(published, abs=0.015)
    assert by_rdp(256 / 60_000, z, steps) < published


class TestTheDiscreteGaussianUnderSampling:
    """The curve of the continuous sampled Gaussian holds for the discrete one at whole orders, in both directions.

    P is N_Z(0, s²), Q is P shifted by the whole number D, M = (1 - q) P + q Q. The moment E_P[(M/P)^a] is a sum of
    E_P[(Q/P)^k] = exp(k(k-1) D²/(2 s²)), exactly, since P shifted by kD is as heavy as P. Checked at scales where a
    lattice would show, if it did.
    """

    @pytest.mark.parametrize("sigma", [1.0, 2.0, 5.0])
    @pytest.mark.parametrize("q", [0.01, 0.3])
    @pytest.mark.parametrize("order", [2, 3, 8, 16])
    def test_one_coordinate(self, sigma: float, q: float, order: int) -> None:
        shift = 3
        x = np.arange(-4000, 4001, dtype=float)
        log_p = -(x**2) / (2 * sigma**2)
        log_p -= special.logsumexp(log_p)
        log_m = np.logaddexp(log_p + math.log1p(-q), -((x - shift) ** 2) / (2 * sigma**2) + math.log(q) + log_p.max())
        continuous = rdp.RdpAccountant([order]).compose(dp_sgd_event(q, sigma / shift, 1))._rdp[0]
        moved = special.logsumexp(order * log_m + (1 - order) * log_p) / (order - 1)
        back = special.logsumexp(order * log_p + (1 - order) * log_m) / (order - 1)
        assert moved == pytest.approx(continuous, rel=1e-9)
        assert back <= continuous * (1 + 1e-9)

    def test_a_shift_over_many_coordinates_costs_what_its_norm_says(self) -> None:
        """Shift (2, -1) in two coordinates, sampled: as one coordinate at z = sigma / sqrt(5)."""
        sigma, q, order = 1.5, 0.2, 4
        x, y = np.meshgrid(np.arange(-90, 91, dtype=float), np.arange(-90, 91, dtype=float))
        log_p = -(x**2 + y**2) / (2 * sigma**2)
        scale = special.logsumexp(log_p)
        log_q = -((x - 2) ** 2 + (y + 1) ** 2) / (2 * sigma**2) - scale
        log_p -= scale
        log_m = np.logaddexp(log_p + math.log1p(-q), log_q + math.log(q))
        moved = special.logsumexp(order * log_m + (1 - order) * log_p) / (order - 1)
        continuous = rdp.RdpAccountant([order]).compose(dp_sgd_event(q, sigma / math.sqrt(5), 1))._rdp[0]
        assert moved == pytest.approx(continuous, rel=1e-9)
