"""The two-step method over DIZ against the same algorithm on pooled rows, and what it does for inflated tests."""

from dataclasses import replace

import numpy as np
import pytest
from flame_strategies.errors import StrategyError
from gwas import linear_run, two_step_run
from gwas.errors import InputError
from gwas.ld_run import common
from gwas.moments_run import moments
from gwas.pca_run import principal_components
from gwas.results import OK, TWO_STEP
from gwas.site import Request
from gwas.site_design import design
from gwas.site_loco import offset
from gwas.site_ridge import folds, gwas_level1, gwas_ridge
from gwas.two_step_run import Loco, blocks_of, step_one
from numpy.testing import assert_allclose

from tests.use_cases.gwas.made import panel, site
from tests.use_cases.gwas.plink_files import MemoryHub, rows, settings_of
from tests.use_cases.gwas.structure_study import checked, exchange_of, inflation, standardised, structured

H = (0.05, 0.25, 0.6)
ASKED = settings_of(analysis="two-step", covariates=("age",), ridge=H, folds=4, blocks=35, seed=5, chunk=100)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A study, its DIZ, the design's arrays and the first step's result."""
    study, _ = structured(
        families=90, children=2, variants=330, seed=2, causal=30, chromosomes=4, missing=0.02, fst=0.03, shift=0.4
    )
    sites = study.sites(tmp_path_factory.mktemp("sites"), shuffled=True)
    exchange = exchange_of(sites, ASKED)
    null = moments(exchange, ASKED)
    variants = common(study.panel, checked(study.calls), ASKED)
    loco = step_one(exchange, blocks_of(variants, study.panel, ASKED), ASKED, null.arrays)
    return study, sites, exchange, null, loco


def twin(study, null, variants, fold) -> dict[int, np.ndarray]:
    """REGENIE's first step on pooled rows: predictions (n,) without each chromosome."""
    age, y = (
        (study.sheet[name] - c) / s
        for name, c, s in zip(("age", "y"), null.arrays["centre"], null.arrays["scale"], strict=True)
    )
    z, y = np.column_stack([np.ones(len(y)), age]), y.to_numpy()
    rest = lambda a: a - z @ np.linalg.lstsq(z, a, rcond=None)[0]  # noqa: E731

    def solve(x, t, weight):
        padded = np.vstack([x, np.sqrt(weight) * np.eye(x.shape[1])])
        return np.linalg.lstsq(padded, np.concatenate([t, np.zeros(x.shape[1])]), rcond=None)[0]

    X, y = rest(standardised(study.calls, variants, study.sheet["site"].to_numpy())), rest(y)
    chromosome = study.panel.chromosome[variants.index]
    columns, of_column = [], []
    for code in np.unique(chromosome):
        places = np.flatnonzero(chromosome == code)
        for block in np.array_split(places, -(-len(places) // ASKED.blocks)):
            for h in H:
                column = np.empty(len(y))
                for k in range(ASKED.folds):
                    out = fold != k
                    column[~out] = X[np.ix_(~out, block)] @ solve(
                        X[np.ix_(out, block)], y[out], len(chromosome) * (1 - h) / h
                    )
                columns.append(column)
                of_column.append(code)
    W = np.column_stack(columns)
    best, least = {}, np.inf
    for h in H:
        weight = (W**2).sum() / len(y) * (1 - h) / h
        found = np.stack([solve(W[fold != k], y[fold != k], weight) for k in range(ASKED.folds)])[fold]
        error = ((y - (W * found).sum(axis=1)) ** 2).sum()
        if error < least:
            least = error
            best = {
                c: (W * found)[:, np.array(of_column) != c].sum(axis=1) for c in (*np.unique(chromosome).tolist(), 23)
            }
    return best


def test_predictions_without_each_chromosome_are_those_of_pooled_rows(fitted):
    study, sites, _, null, loco = fitted
    of_patient = {}
    for each in sites:
        of_patient |= dict(zip(each.patients, folds(each, ASKED).tolist(), strict=True))
    fold = np.array([of_patient[patient] for patient in study.sheet["iid"]])
    expected = twin(study, null, loco.variants, fold)
    for code in (1, 2, 3, 4, 23):
        arrays = {**null.arrays, **loco.arrays(code)}
        for each in sites:
            request = Request({}, arrays)
            samples = design(each, request, ASKED)
            made = offset(each, request, ASKED, samples)
            mine = (study.sheet["site"] == each.node).to_numpy()
            assert_allclose(made, expected[code][mine], atol=1e-10)
    assert all(np.var(prediction) > 0.01 for prediction in expected.values())
    assert loco.blocks == 12
    assert "r2 = 0." in loco.notes()[0]


def test_the_second_step_is_linear_regression_of_what_predictions_leave(fitted, tmp_path):
    study, sites, _, null, loco = fitted
    exchange = exchange_of(sites, ASKED)
    hub = MemoryHub(object(), exchange.sites, ASKED, study.panel, 1, 1.0, tmp_path, exchange=exchange)
    table = rows(two_step_run.run(hub, checked(study.calls), None))
    assert (table["test"] == TWO_STEP).all()
    assert (table["status"] == OK).all()
    left = np.empty(len(study.sheet))
    for variant in (0, 1, 100, 200, 329):
        request = Request({}, {**null.arrays, **loco.arrays(int(study.panel.chromosome[variant]))})
        for each in sites:
            samples = design(each, request, ASKED)
            left[study.sheet["site"] == each.node] = samples.y - offset(each, request, ASKED, samples)
        calls = study.calls[:, variant]
        there = calls >= 0
        X = np.column_stack([np.ones(there.sum()), study.sheet["age"][there], calls[there]])
        (_, _, beta), rss, _, _ = np.linalg.lstsq(X, left[there], rcond=None)
        se = np.sqrt(rss[0] / (there.sum() - 3) * np.linalg.inv(X.T @ X)[2, 2])
        assert_allclose(table["beta"][variant], beta * null.y_scale, rtol=1e-9, atol=1e-12)
        assert_allclose(table["stat"][variant], beta / se, rtol=1e-9, atol=1e-10)


def lambdas(study, causal, folder, asked):
    """Lambda GC of variants without effect by (analysis, components)."""
    found, sites, quality = {}, study.sites(folder), checked(study.calls)
    for analysis, pcs in asked:
        settings = replace(
            ASKED, analysis=analysis, pcs=pcs, blocks=200, ridge=(0.01, 0.25, 0.5, 0.75, 0.99), chunk=5000, ld_step=25
        )
        exchange = exchange_of(sites, settings)
        here = folder / f"{analysis}-{pcs}"
        hub = MemoryHub(object(), exchange.sites, settings, study.panel, 1, 1.0, here, exchange=exchange)
        run = two_step_run.run if analysis == "two-step" else linear_run.run
        table = rows(run(hub, quality, principal_components(hub, quality)))
        found[analysis, pcs] = inflation(table["stat"][~causal[table.index]].to_numpy())
    return found


@pytest.mark.slow
def test_populations_no_longer_inflate(tmp_path):
    """Neither with their component among the covariates, nor with predictions."""
    study, causal = structured(families=700, children=1, variants=8_000, seed=11, fst=0.02, shift=0.6)
    found = lambdas(study, causal, tmp_path, [("linear", 0), ("linear", 1), ("two-step", 1)])
    assert found["linear", 0] >= 1.1
    assert all(0.95 <= found[way] <= 1.05 for way in found if way != ("linear", 0))


@pytest.mark.slow
def test_siblings_no_longer_inflate(tmp_path):
    """Components take the populations up, not the siblings; predictions take up both."""
    study, causal = structured(families=400, children=2, variants=8_000, seed=11, fst=0.02, shift=0.6, heritability=0.6)
    found = lambdas(study, causal, tmp_path, [("linear", 0), ("linear", 1), ("two-step", 0)])
    assert found["linear", 0] >= 1.1
    assert found["linear", 1] >= 1.1
    assert 0.95 <= found["two-step", 0] <= 1.05


def test_folds_are_of_patients_and_of_the_seed():
    calls = np.zeros((400, 2), dtype=np.int8)
    first = site(calls, patients=tuple(f"p{row // 2}" for row in range(400)))
    found = folds(first, ASKED)
    assert (found[::2] == found[1::2]).all()
    assert np.bincount(found).min() > 60
    other = site(calls[:2], patients=("p7", "p3"))
    assert folds(other, ASKED).tolist() == [found[14], found[6]]
    assert (folds(first, replace(ASKED, seed=6)) != found).mean() > 0.5


def test_blocks_are_of_one_chromosome_and_about_equally_long(fitted):
    study, _, _, _, loco = fitted
    blocks = blocks_of(loco.variants, study.panel, ASKED)
    sizes = [of.stop - of.start for of in blocks.ranges]
    assert max(sizes) <= 35
    assert max(sizes) - min(sizes) <= 1
    assert blocks.ranges[-1].stop == loco.variants.size
    for of, code in zip(blocks.ranges, blocks.chromosomes, strict=True):
        assert (study.panel.chromosome[loco.variants.index[of]] == code).all()


def test_one_chromosome_or_too_many_blocks_are_said(fitted):
    study, _, _, _, loco = fitted
    with pytest.raises(StrategyError, match="two chromosomes"):
        blocks_of(loco.variants.take(slice(0, 50)), study.panel, ASKED)
    with pytest.raises(StrategyError, match="Raise blocks"):
        blocks_of(loco.variants, study.panel, replace(ASKED, blocks=1, ridge=tuple(np.linspace(0.1, 0.9, 9))))


@pytest.fixture
def diz():
    """One DIZ with two chromosomes, and a right question about level 1."""
    calls = np.random.default_rng(0).binomial(2, 0.4, (60, 60)).astype(np.int8)
    each = site(calls, of=panel([1] * 40 + [2] * 20), numbers={"y": np.arange(60.0), "age": np.ones(60)})
    arrays = {
        "ridge_index": np.arange(60),
        "ridge_mean": np.full(60, 0.8),
        "ridge_scale": np.ones(60),
        "centre": np.zeros(2),
        "scale": np.ones(2),
    }
    return each, arrays, {**arrays, "block": np.repeat([0, 1, 2], 20), "weights": np.ones((60, 4))}


TWO = replace(ASKED, ridge=(0.2, 0.5), folds=2, blocks=40)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"block": np.repeat([0, 1, 2], [20, 30, 10])}, "of one chromosome"),
        ({"block": np.repeat([0, 1, 3], 20)}, "in order"),
        ({"block": np.repeat([1, 2, 3], 20)}, "which variant"),
        ({"block": np.zeros(3, dtype=np.int64)}, "which variant"),
        ({"block": np.repeat([0, 1, 2, 3], [20, 19, 1, 20])}, "fewer than 20 variants"),
        ({"weights": np.ones((60, 3))}, "shape"),
        ({"weights": np.full((60, 4), np.inf)}, "finite"),
        ({"weights": np.full((60, 4), -1001.0)}, "beyond 1000"),
        ({"ridge_index": np.append(np.arange(59), 58)}, "each once"),
    ],
)
def test_blocks_that_no_fit_has_are_refused(diz, change, text):
    each, _, right = diz
    assert gwas_level1(each, Request({}, right), TWO)["ww"].shape == (1, 2, 21)
    with pytest.raises(InputError, match=text):
        gwas_level1(each, Request({}, {**right, **change}), TWO)


def test_a_block_is_of_few_neighbours(diz):
    each, arrays, _ = diz
    with pytest.raises(InputError, match="of one chromosome"):
        gwas_ridge(each, Request({}, arrays), replace(TWO, blocks=60))
    less = {name: array[:40] if name.startswith("ridge") else array for name, array in arrays.items()}
    assert gwas_ridge(each, Request({}, less), TWO)["xx"].shape == (40, 40, 2)
    with pytest.raises(InputError, match="at most 39"):
        gwas_ridge(each, Request({}, less), replace(TWO, blocks=39))


def test_sums_over_folds_are_those_of_all_samples(diz):
    each, arrays, _ = diz
    less = {name: array[:4] if name.startswith("ridge") else array for name, array in arrays.items()}
    answer = gwas_ridge(each, Request({}, less), TWO)
    x = each.genotypes.calls[:, :4] - 0.8
    assert_allclose(answer["xx"].sum(axis=2), x.T @ x, atol=1e-9)
    assert_allclose(answer["xy"].sum(axis=1), x.T @ np.arange(60.0), atol=1e-9)
    assert answer["n"].sum() == 60
    assert answer["n"].min() > 15


def test_guards_count_carriers_and_levels_by_fold(diz):
    each, arrays, right = diz
    few = replace(each, codes={"batch": np.arange(60) // 50}, levels={"batch": ("a", "b")})
    asked = replace(TWO, covariates=("age", "batch"), levels={"batch": ("a", "b")})
    less = {name: array[:4] if name.startswith("ridge") else array for name, array in arrays.items()}
    answer, fold = gwas_ridge(few, Request({}, less), asked), folds(few, asked)
    calls, late = few.genotypes.calls[:, :4], np.arange(60) >= 50
    for k in range(2):
        of = fold == k
        assert answer["carriers"][:, 2 * k].tolist() == (calls[of] > 0).sum(axis=0).tolist()
        assert answer["carriers"][:, 2 * k + 1].tolist() == (calls[of] < 2).sum(axis=0).tolist()
        groups = [(of & ~late).sum(), (of & late).sum()]
        assert answer["classes"][0, 2 * k : 2 * k + 2].tolist() == groups
    assert (answer["row_classes"] == answer["classes"]).all()
    assert answer["row_classes"].shape == (4, 4)
    level = gwas_level1(few, Request({}, right), asked)
    assert level["classes"].tolist() == answer["classes"].tolist()


def loco_arrays(**change):
    arrays = {
        "loco_index": np.arange(60),
        "loco_mean": np.full(60, 0.8),
        "loco_scale": np.ones(60),
        "loco_weights": np.ones((60, 2)),
        "loco_z": np.zeros((2, 2)),
        "loco_chromosome": np.array([1]),
    }
    return arrays | change


def test_predictions_leave_the_tested_chromosome_out(diz):
    each, arrays, _ = diz
    request = Request({"start": 0, "stop": 40}, {**arrays, **loco_arrays()})
    samples = design(each, request, TWO)
    made = offset(each, request, TWO, samples)
    assert_allclose(made, (each.genotypes.calls[:, 40:] - 0.8).sum(axis=1), atol=1e-12)
    assert not offset(each, Request({}, arrays), TWO, samples).any()
    for config, change, text in (
        ({"start": 40, "stop": 60}, {}, "does not leave out"),
        ({}, {"loco_weights": np.ones((60, 3))}, "shape"),
        ({}, {"loco_z": np.zeros((2, 3))}, "shape"),
    ):
        with pytest.raises(InputError, match=text):
            offset(each, Request(config, {**arrays, **loco_arrays(**change)}), TWO, samples)
    with pytest.raises(InputError, match="takes no polygenic prediction"):
        offset(each, request, replace(TWO, analysis="linear"), samples)


def test_a_chromosome_without_blocks_leaves_all_in(fitted):
    _, _, _, _, loco = fitted
    assert isinstance(loco, Loco)
    assert_allclose(loco.arrays(22)["loco_z"], loco.shifts)
    assert np.abs(loco.arrays(1)["loco_z"] - loco.shifts).max() > 0
