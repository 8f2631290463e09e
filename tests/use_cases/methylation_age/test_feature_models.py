"""The models of all CpGs from a spectrum, against a Gaussian process fitted directly to pooled rows."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from methylation_age import direct_gp, feature_models, packaged, spectrum

Float = npt.NDArray[np.float64]


def rows_and_targets(n: int, p: int, seed: int, m: int = 4) -> tuple[Float, Float]:
    """Standardised rows with relations between columns, and target rows, some of which break them."""
    generator = np.random.default_rng(seed)
    factors = generator.normal(size=(3, p)) * generator.uniform(0.2, 2.0, p)
    rows = generator.normal(size=(n, 3)) @ factors + generator.normal(size=(n, p))
    targets = generator.normal(size=(m, 3)) @ factors + generator.normal(size=(m, p))
    targets[:, ::3] += 2.0
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    return (rows - mean) / deviation, (targets - mean) / deviation


def of_rows(z: Float, seed: int = 0, sites: int = 1) -> spectrum.Spectrum:
    """The spectrum through the sites' sketches."""
    n, p = z.shape
    omega = spectrum.directions(seed, n, p, (0, spectrum.width(n, p)))
    sketched = sum(spectrum.sketch(z[site::sites], omega) for site in range(sites))
    return spectrum.from_sketch(np.asarray(sketched), seed, n, trace=float((z**2).sum()))


def assert_direct(z: Float, targets: Float, columns: list[int], tolerance: float) -> None:
    """Mean, variance and confidence of some CpGs equal the direct Gaussian process's at the same hyper-parameters."""
    of = of_rows(z)
    models = feature_models.fit(of)
    mean, variance = feature_models.predict(of, models, targets)
    smooth = feature_models.predict(of, models, targets, include_noise=False)[1]
    confidence = feature_models.confidences(of, models, targets)
    for j in columns:
        signal, noise = float(models.signal[j]), float(models.noise[j])
        direct = direct_gp.predict(z, j, targets, signal=signal, noise=noise)
        np.testing.assert_allclose(mean[:, j], direct[0], atol=tolerance)
        np.testing.assert_allclose(variance[:, j], direct[1], atol=tolerance)
        np.testing.assert_allclose(smooth[:, j], direct[1] - noise, atol=tolerance)
        np.testing.assert_allclose(
            confidence[:, j], direct_gp.confidence(targets[:, j], *direct), atol=10 * tolerance, rtol=0
        )


@settings(max_examples=40)
@given(n=st.integers(6, 25), p=st.integers(2, 40), seed=st.integers(0, 10_000))
def test_predictions_are_the_direct_gaussian_process_s(n: int, p: int, seed: int) -> None:
    """Fewer rows than CpGs or more: means and variances to 1e-10, confidences to 1e-9."""
    z, targets = rows_and_targets(n, p, seed)
    assert_direct(z, targets, [0, p - 1], 1e-10)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("n", "p"), [(40, 6), (40, 39), (25, 80)])
def test_hyper_parameters_are_the_direct_optimum(n: int, p: int, centred: bool) -> None:
    """No start of a general optimiser on the direct likelihood finds a better point; the best is the same point."""
    z = rows_and_targets(n, p, seed=n + p)[0]
    models = feature_models.fit(of_rows(z), centred=centred)
    for j in range(0, p, p // 3):
        signal, noise = float(models.signal[j]), float(models.noise[j])
        direct = direct_gp.fit(z, j, centred=centred)
        ours = direct_gp.negative_log_likelihood(z, j, signal, noise, centred=centred)
        assert ours <= direct.nll + 1e-9
        if signal > 0:
            np.testing.assert_allclose([direct.signal, direct.noise], [signal, noise], rtol=2e-4)


@pytest.mark.parametrize("centred", [True, False])
def test_the_likelihood_is_level_at_the_hyper_parameters(centred: bool) -> None:
    """Central differences of the direct likelihood are 0 in both directions wherever the range does not bind."""
    z = rows_and_targets(30, 50, seed=8)[0]
    models = feature_models.fit(of_rows(z), centred=centred)
    ratio = 50 * models.signal / models.noise
    inside = np.flatnonzero((ratio > 1e-3) & (ratio < 1e3))[:8]
    assert len(inside) == 8
    step = 1e-4
    for j in inside:
        s, sigma = float(models.signal[j]), float(models.noise[j])
        for at in ((s, 0.0), (0.0, sigma)):
            above = direct_gp.negative_log_likelihood(z, j, s + step * at[0], sigma + step * at[1], centred=centred)
            below = direct_gp.negative_log_likelihood(z, j, s - step * at[0], sigma - step * at[1], centred=centred)
            assert abs(above - below) / (2 * step) < 1e-5


def test_unrelated_and_constant_cpgs() -> None:
    """A CpG that the others say nothing about has signal 0; a constant one has no model and stays out of all sums."""
    n = 64
    hadamard = np.array([[1.0]])
    while len(hadamard) < n:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    z = np.concatenate([hadamard[:, 1:5], np.zeros((n, 1))], axis=1)  # orthogonal columns, and a constant
    of = of_rows(z)
    models = feature_models.fit(of)
    np.testing.assert_array_equal(models.signal, 0.0)
    np.testing.assert_allclose(models.noise, [n / (n - 1)] * 4 + [0.0])
    targets = np.array([[0.0, 1.0, -2.0, 0.5, 3.0]])
    mean, variance = feature_models.predict(of, models, targets)
    np.testing.assert_allclose(mean[0, :4], 0.0, atol=1e-14)
    np.testing.assert_allclose(variance[0, :4], n / (n - 1))
    assert np.isnan([mean[0, 4], variance[0, 4], feature_models.confidences(of, models, targets)[0, 4]]).all()
    total, count = feature_models.confidence_sums(of, models, targets, np.ones((1, 5), dtype=np.bool_))
    np.testing.assert_array_equal(count, [1, 1, 1, 1, 0])
    assert total[0] == 1.0
    assert total[4] == 0.0


@pytest.mark.parametrize(("n", "p"), [(60, 8), (20, 40)])
def test_repeated_cpgs_foretell_each_other(n: int, p: int) -> None:
    """Two equal columns: finite models with little noise, direct predictions, and no confidence once one differs."""
    z, targets = rows_and_targets(n, p, seed=3)
    z[:, 1], targets[:, 1] = z[:, 0], targets[:, 0]
    models = feature_models.fit(of_rows(z))
    assert np.isfinite(models.signal).all()
    assert (models.noise[:2] < 0.5 * np.median(models.noise)).all() or n < p
    assert_direct(z, targets, [0, 1, 2], 1e-8)
    np.testing.assert_allclose(models.signal[0], models.signal[1], rtol=1e-6)
    if n > p:
        same = feature_models.confidences(of_rows(z), models, targets)[:, 0]
        targets[:, 1] += 3.0
        assert (feature_models.confidences(of_rows(z), models, targets)[:, 0] < 1e-3 * same).all()


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), sites=st.integers(1, 5))
def test_any_split_gives_the_same_sums(seed: int, sites: int) -> None:
    """Source rows and target rows dealt out to sites anyhow: the same confidences, missing values included."""
    z, targets = rows_and_targets(20, 30, seed, m=9)
    observed = np.random.default_rng(seed).random(targets.shape) < 0.8
    targets = np.where(observed, targets, 0.0)
    pooled = of_rows(z)
    every = feature_models.confidences(pooled, feature_models.fit(pooled), targets)
    of = of_rows(z, seed=seed, sites=sites)
    models = feature_models.fit(of)
    parts = [feature_models.confidence_sums(of, models, targets[k::sites], observed[k::sites]) for k in range(sites)]
    np.testing.assert_array_equal(sum(count for _, count in parts), observed.sum(axis=0))
    np.testing.assert_allclose(sum(total for total, _ in parts), np.where(observed, every, 0).sum(axis=0), atol=1e-6)


def test_confidences_are_uniform_where_nothing_shifts() -> None:
    """Targets from the source's own distribution: each confidence is uniform, with mean 1/2."""
    z, targets = rows_and_targets(400, 30, seed=9, m=2000)
    targets[:, ::3] -= targets[:, ::3].mean(axis=0)  # undo what the helper breaks
    of = of_rows(z)
    confidence = feature_models.confidences(of, feature_models.fit(of), targets)
    np.testing.assert_allclose(confidence.mean(axis=0), 0.5, atol=0.05)
    np.testing.assert_allclose(np.quantile(confidence, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.03)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work arrays of any size give the same models and sums."""
    z, targets = rows_and_targets(20, 30, seed=1)
    of, observed = of_rows(z), np.ones(targets.shape, dtype=np.bool_)
    models = feature_models.fit(of)
    sums = feature_models.confidence_sums(of, models, targets, observed)
    monkeypatch.setattr(feature_models, "_BLOCK", 150)
    small = feature_models.fit(of)
    np.testing.assert_allclose(small.signal, models.signal, rtol=1e-9)
    np.testing.assert_allclose(feature_models.confidence_sums(of, small, targets, observed)[0], sums[0], rtol=1e-9)


def test_weights_fall_with_confidence_and_average_one() -> None:
    """The weights' formula, unknown CpGs at 1, and no division by 0."""
    found = feature_models.weights(np.array([0.0, 0.5, np.nan, 1.0]), power=3.0)
    np.testing.assert_allclose(found, np.array([1.0, 0.125, 0.0, 0.0]) * 3 / 1.125 + [0, 0, 1, 0])
    assert found.sum() == pytest.approx(4)
    np.testing.assert_array_equal(feature_models.weights(np.ones(3)), 1.0)


@pytest.mark.slow
def test_real_brains_equal_the_direct_gaussian_process(packaged_data: None) -> None:
    """472 x 7,503 real betas at five sites: 20 random CpGs' means and variances to 1e-10, confidences to 1e-9."""
    train, test = packaged.gse74193()
    centre, scale = train.betas.to_numpy().mean(axis=0), train.betas.to_numpy().std(axis=0)
    z = (train.betas.to_numpy() - centre) / scale
    columns = np.random.default_rng(20).choice(z.shape[1], 20, replace=False).tolist()
    assert_direct(z, (test.betas.to_numpy() - centre) / scale, columns, 1e-10)
    models = feature_models.fit(of_rows(z, seed=1, sites=5))
    for j in columns[:2]:
        signal, noise = float(models.signal[j]), float(models.noise[j])
        ours = direct_gp.negative_log_likelihood(z, j, signal, noise)
        for by_signal, by_noise in ((0.98, 1.0), (1.0, 1.02)):
            assert ours < direct_gp.negative_log_likelihood(z, j, by_signal * signal, by_noise * noise)
