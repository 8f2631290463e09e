"""Polygenic scores over DIZ: equal to those of the pooled rows, guarded, and applied at the desk."""

import json
from dataclasses import replace

import numpy as np
import pytest
from flame_strategies.errors import StrategyError
from flame_strategies.output import load_model
from gwas import quality_run, score_output, score_run, site_score
from gwas.by_site import Answers
from gwas.clumping import best
from gwas.errors import InputError
from gwas.hub import Hub
from gwas.score_evaluation import Evaluation
from gwas.site import Request
from gwas.site_score import folds, score_check, score_ld, score_moments, tenth
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, roc_auc_score

from tests.use_cases.gwas.plink_files import ANSWERS, MemoryHub, SiteExchange, made_up, settings_of

ALL = {**ANSWERS, **site_score.ANSWERS}
SAMPLES, VARIANTS = 900, 120


@pytest.fixture(scope="module")
def study():
    """A synthetic trait of ten of 120 variants, and a disease; every fifth sample tests."""
    found = made_up(SAMPLES, VARIANTS, 5, missing=0.0, chromosome=np.repeat([1, 2], VARIANTS // 2))
    rng = np.random.default_rng(8)
    calls = np.maximum(found.calls, 0)
    weights = np.zeros(VARIANTS)
    weights[::12] = rng.choice([-0.5, 0.5], 10)
    sheet = found.sheet.assign(y=10 + calls @ weights + 0.02 * found.sheet["age"] + rng.normal(size=SAMPLES))
    sheet["ill"] = 1.0 + (sheet["y"] + rng.normal(size=SAMPLES) > sheet["y"].median())
    return replace(found, sheet=sheet)


@pytest.fixture
def world(study, tmp_path, monkeypatch):
    """A hub over the study's DIZ; `whole` over one DIZ that has everything."""

    def make(*, whole=False, drawn=False, **changed):
        if not drawn:  # pictures take most of the time, and are the same everywhere
            for module, name in ((score_run.output, "figures"), (Evaluation, "figures")):
                monkeypatch.setattr(module, name, lambda *_: [])
            monkeypatch.setattr(score_output.plots, "penalties", lambda *_, **__: {"file": "plots"})
        settings = settings_of(
            **{"analysis": "score", "score_p": 0.01, "score_r2": 0.5, "score_kb": 20.0, "folds": 4, **changed}
        )
        of = study if not whole else replace(study, sheet=study.sheet.assign(site=1))
        data, out = (tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}" for name in ("data", "run"))
        data.mkdir()
        out.mkdir()
        sites = [
            replace(site, train=np.array([int(patient[1:]) % 5 != 0 for patient in site.patients]))
            for site in of.sites(data)
        ]
        exchange = SiteExchange(sites, settings, ALL)
        hub = MemoryHub(object(), exchange.sites, settings, study.panel, 1, 1.0, out, exchange=exchange)

        def ask_each(grid, nodes, timeout):
            def ask(message_type, content):
                total = exchange(message_type, content)
                by_site = {f"DIZ-{node}": arrays for node, arrays in exchange.replies[-1].items()}
                return Answers(total, by_site, len(by_site), 0)

            return ask

        monkeypatch.setattr(score_run, "ask_each", ask_each)
        return hub, sites

    return make


def trained(hub: Hub):
    """The run's outcome, and its model."""
    outcome = score_run.run(hub, quality_run.run(hub), None)
    arrays, metadata = load_model(hub.folder)
    return outcome, arrays, metadata


@pytest.mark.parametrize("model", ["ridge", "lasso"])
@pytest.mark.parametrize("phenotype", [{"phenotype": "y"}, {"phenotype": "ill", "cases": "2"}])
def test_a_score_over_diz_is_that_of_one_that_has_all(world, model, phenotype):
    several, one = (trained(world(whole=whole, score_model=model, **phenotype)[0]) for whole in (False, True))

    assert several[2] == one[2]
    for name, array in one[1].items():
        assert_allclose(several[1][name], array, rtol=1e-8, atol=1e-10)
    for label, value in one[0].numbers["evaluation"].items():
        within = 0.02 if "AUC" in label else 1e-9  # the ranks of an AUC are within DIZ
        assert several[0].numbers["evaluation"][label] == pytest.approx(value, rel=1e-7, abs=within, nan_ok=True)
    assert several[0].numbers["score"]["variants"] >= 5


def test_ridge_weights_and_evaluation_are_scikit_learn_s_on_the_pooled_rows(world, study):
    hub, _ = world()
    outcome, arrays, metadata = trained(hub)

    index = np.array([study.panel.id.tolist().index(name) for name in metadata["variants"]["id"]])
    calls = study.calls[:, index].astype(np.float64)
    X = np.where(calls < 0, 0.0, calls - arrays["mean"])
    y, age = study.sheet["y"].to_numpy(), study.sheet["age"].to_numpy()
    train = np.arange(SAMPLES) % 5 != 0
    Z = np.column_stack([np.ones(SAMPLES), (age - arrays["centre"][0]) / arrays["scale"][0]])
    scale = X[train].std(axis=0)
    left, out = (a - Z[train] @ np.linalg.lstsq(Z[train], a, rcond=None)[0] for a in (X[train] / scale, y[train]))
    penalty = outcome.numbers["score"]["penalty"]
    theirs = Ridge(alpha=penalty * train.sum(), fit_intercept=False, solver="svd").fit(left, out).coef_ / scale
    assert_allclose(arrays["weights"], theirs, rtol=1e-8)

    score, base = X @ arrays["weights"], Z @ arrays["covariates"]
    found = outcome.numbers["evaluation"]
    assert found["test samples"] == (~train).sum()
    assert found["R2"] == pytest.approx(r2_score(y[~train], (base + score)[~train]), abs=1e-9)
    assert found["correlation"] == pytest.approx(np.corrcoef(score[~train], y[~train])[0, 1], abs=1e-9)
    assert found["R2"] > found["R2 of the covariates"] + 0.2
    rows = next(table for table in outcome.tables if table["title"] == "Evaluation by DIZ")["rows"]
    assert [row[0] for row in rows] == ["DIZ-0", "DIZ-1", "DIZ-2"]
    assert sum(int(row[1]) for row in rows) == (~train).sum()


def test_the_area_of_a_disease_s_score_is_scikit_learn_s_within_its_bound(world, study):
    hub, _ = world(drawn=True, phenotype="ill", cases="2")
    outcome, arrays, metadata = trained(hub)

    index = np.array([study.panel.id.tolist().index(name) for name in metadata["variants"]["id"]])
    calls = study.calls[:, index]
    score = (calls - arrays["mean"]) @ arrays["weights"]
    test = np.arange(SAMPLES) % 5 == 0
    rank = np.zeros(SAMPLES)  # within each DIZ: how DIZ differ is no part of it
    for number in range(3):
        mine = np.flatnonzero(test & (study.sheet["site"] == number))
        rank[mine] = np.argsort(np.argsort(score[mine])) / len(mine)
    true = roc_auc_score(study.sheet["ill"][test] == 2, rank[test])
    found = outcome.numbers["evaluation"]
    assert abs(found["AUC"] - true) <= found["largest error of the AUC"]
    assert found["largest error of the AUC"] < 0.06
    assert found["AUC"] > 0.6
    drawn = {entry["file"] for entry in outcome.figures}
    assert drawn >= {"plots/roc.svg", "plots/calibration.svg", "plots/penalties.svg", "plots/manhattan.png"}
    assert all((hub.folder / file).is_file() for file in drawn)


def test_the_files_of_a_score(world):
    hub, _ = world()
    outcome, arrays, metadata = trained(hub)

    lines = (hub.folder / "score.txt").read_text().splitlines()
    head = [line for line in lines if line.startswith("#")]
    names, *rows = (line.split("\t") for line in lines[len(head) :])
    assert "#format_version=2.0" in head
    assert f"#variants_number={len(rows)}" in head
    assert names == [
        *("rsID", "chr_name", "chr_position", "effect_allele", "other_allele", "effect_weight"),
        "allelefrequency_effect",
    ]
    assert [float(row[5]) for row in rows] == arrays["weights"].tolist()
    assert [row[3] for row in rows] == metadata["variants"]["effect_allele"]
    json.dumps(outcome.numbers)


def test_variants_that_go_together_do_not_both_enter(world, study):
    hub, _ = world(score_r2=0.2, score_kb=1000.0, score_p=0.05)
    outcome, _, metadata = trained(hub)
    loose = trained(world(score_r2=1.0, score_kb=1000.0, score_p=0.05)[0])[0]

    index = np.array([study.panel.id.tolist().index(name) for name in metadata["variants"]["id"]])
    calls = np.maximum(study.calls[np.arange(SAMPLES) % 5 != 0][:, index], 0)
    square = np.corrcoef(calls.T) ** 2 - np.eye(len(index))
    assert square[:60, :60].max() < 0.25
    assert outcome.numbers["score"]["clumps"] <= loose.numbers["score"]["clumps"]
    assert loose.numbers["score"]["clumps"] == loose.numbers["score"]["candidates"]


def test_without_candidates_there_is_no_score(world):
    hub, _ = world(score_p=1e-200)

    with pytest.raises(StrategyError, match="raise score-p"):
        trained(hub)


def test_blocks_for_one_message_have_no_neighbours_elsewhere():
    chromosome = np.repeat([1, 2], 500)
    position = np.tile(np.cumsum(np.where(np.arange(500) % 50, 10, 100_000)), 2)
    p = np.random.default_rng(0).random(1000)

    found = score_run.blocks(chromosome, position, p, 50.0, most=120)

    rows = np.concatenate(found)
    assert sorted(rows.tolist()) == list(range(1000))
    assert max(map(len, found)) <= 120
    for block in found:
        others = np.setdiff1d(np.arange(1000), block)
        same = chromosome[block][:, None] == chromosome[others]
        assert not (same & (np.abs(position[block][:, None] - position[others]) <= 50_000)).any()
    (kept,) = score_run.blocks(np.ones(9), np.arange(9) * 10, p[:9], 50.0, most=4)
    assert kept.tolist() == sorted(np.argsort(-p[:9])[:4])


def asked(hub, **arrays):
    """A message about the first variants, with the design's arrays."""
    spans = {"index": np.arange(3), "mean": np.ones(3), **arrays}
    return Request({}, {"centre": np.array([50.0, 10.0]), "scale": np.array([10.0, 2.0]), **spans})


CHECK = {"weights": np.ones(3), "covariates": np.zeros(2)}


def test_carriers_guard_every_variant_of_every_set_of_samples(world):
    hub, (site, *_) = world()
    found = score_moments(site, asked(hub), hub.settings)
    calls, fold = site.genotypes.pick(np.arange(3)), folds(site, hub.settings)

    assert found["carriers"].shape == (3, 2 * 4 + 2)
    for k in range(4):
        of = calls[site.train & (fold == k)]
        assert found["carriers"][:, 2 + 2 * k].tolist() == (of > 0).sum(axis=0).tolist()
        assert found["carriers"][:, 3 + 2 * k].tolist() == ((of >= 0) & (of < 2)).sum(axis=0).tolist()
    assert found["carriers"][:, 0].tolist() == (calls[~site.train] > 0).sum(axis=0).tolist()
    check = score_check(site, asked(hub, **CHECK), hub.settings)
    assert check["carriers"].tolist() == [found["carriers"][:, :2].ravel().tolist()]
    assert check["people"].sum() == (~site.train).sum() == check["tenths"][0, :, 0].sum()
    assert np.ptp(check["people"]) <= 1
    assert check["ranks"].shape == (1, 10, 2)
    groups = [(site.train & (fold == k)).sum() for k in range(4)]
    assert found["classes"].tolist() == [groups]
    assert found["row_classes"].tolist() == [groups] * 3
    assert check["classes"].tolist() == [[(~site.train).sum()]]
    ld = score_ld(site, asked(hub), hub.settings)
    assert (
        ld["carriers"].tolist()
        == sum(
            (found["carriers"][:, 2 + 2 * k : 4 + 2 * k] for k in range(4)), np.zeros((3, 2), dtype=np.int64)
        ).tolist()
    )
    assert_allclose(ld["xx"], found["xx"].sum(axis=2), rtol=1e-12)


def test_samples_of_one_patient_are_in_one_fold_and_the_seed_decides(world):
    hub, (site, *_) = world()
    twice = replace(site, patients=tuple(f"P{row // 2}" for row in range(site.samples)))

    found = folds(twice, hub.settings)

    even = found[: site.samples // 2 * 2]
    assert (even[::2] == even[1::2]).all()
    assert set(found.tolist()) == {0, 1, 2, 3}
    assert (found != folds(twice, replace(hub.settings, seed=2))).any()


@given(st.lists(st.floats(-5, 5), max_size=60))
def test_tenths_are_of_ranks_and_equally_many(values):
    values = np.array(values)
    found = tenth(values)
    assert np.ptp(np.bincount(found, minlength=10)) <= 1 if len(values) else not len(found)
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


@pytest.mark.parametrize(
    ("query", "arrays", "text"),
    [
        (score_ld, {"index": np.array([0, 0, 1])}, "increase"),
        (score_ld, {"index": np.array([0, 1, 10_000])}, "within the panel"),
        (score_ld, {"index": np.arange(0), "mean": np.ones(0)}, "names 1 to"),
        (score_ld, {"mean": np.ones(2)}, "3 finite"),
        (score_ld, {"mean": np.array([0, 1, 3.0])}, "0 to 2"),
        (score_moments, {"mean": np.array([0, 1, np.nan])}, "finite"),
        (score_check, {**CHECK, "weights": np.array([1.0, 0.0, 1.0])}, "not 0"),
        (score_check, {**CHECK, "weights": np.ones(4)}, "3 finite"),
        (score_check, {**CHECK, "covariates": np.ones(3)}, "2 finite"),
        (score_check, {**CHECK, "weights": np.array([1.0, 1.0, 1001.0])}, "beyond 1000"),
        (score_check, {**CHECK, "weights": np.array([1.0, 1.0, 1e-10])}, "not 0"),
        (score_check, {**CHECK, "covariates": np.array([0.0, -1001.0])}, "beyond 1000"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_what_no_training_needs_is_refused(world, query, arrays, text):
    hub, (site, *_) = world()

    with pytest.raises(InputError, match=text):
        query(site, asked(hub, **arrays), hub.settings)


def test_only_autosomes_are_in_a_score(world):
    hub, (site, *_) = world()
    chromosome = site.panel.chromosome.copy()
    chromosome[2] = 23

    with pytest.raises(InputError, match="autosomes"):
        score_ld(replace(site, panel=replace(site.panel, chromosome=chromosome)), asked(hub), hub.settings)


def test_a_hidden_check_is_said_and_a_hidden_variant_gets_no_weight(world):
    whole = trained(world()[0])
    hub, _ = world()
    lost = int(best(score_run.linear_run.run(hub, quality_run.run(hub), None), (), 0.01, 500)["index"][0])

    def hide(message_type, sums):
        if message_type == "query.score_moments":
            asked_for = hub.exchange.contents[-1]["score"]["index"]
            row = np.flatnonzero(asked_for == lost)
            for name in ("xz", "xy", "xx"):
                sums[name][row] = 0
            sums["xx"][:, row] = 0
        if message_type == "query.score_check":
            sums = {name: np.zeros_like(array) for name, array in sums.items()}
        return sums

    hub.exchange.change = hide
    outcome, _, metadata = trained(hub)

    name = hub.panel.id[lost]
    assert name in whole[2]["variants"]["id"]
    assert name not in metadata["variants"]["id"]
    assert any("could not be evaluated" in note for note in outcome.notes)
    assert outcome.headline[0]["label"] == "variants in the score"
