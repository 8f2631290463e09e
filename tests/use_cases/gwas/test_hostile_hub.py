"""Messages by which a hub would read one patient's genotypes from masked sums are refused at the DIZ.

Each attack is first shown to work on the sums alone; then that a DIZ refuses it, or that the guard has no such row.
"""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from gwas import client_app, site_design
from gwas.approved import check
from gwas.client_app import ANSWERS, answered
from gwas.errors import InputError
from gwas.harmonise import ABSENT
from gwas.site import Request
from gwas.site_counts import gwas_counts
from gwas.site_few import as_asked, few
from gwas.site_linear import gwas_linear
from gwas.site_ridge import folds
from gwas.site_variants import variants

from tests.use_cases.gwas.made import cut, panel, site

CARRIER = 17
"""Of 200 patients, the only one with the variant 0."""

GAP, LOCAL = 5, 6
"""Variants: one without a call of `CARRIER` alone, and one whose only carrier at the first DIZ is `CARRIER`."""

COVARIATES = {"centre": np.zeros(2), "scale": np.ones(2)}


@pytest.fixture
def sites():
    """Five DIZ, 300 variants."""
    generator = np.random.default_rng(3)
    calls = generator.binomial(2, 0.4, (200, 300)).astype(np.int8)
    calls[:, 0] = 0
    calls[CARRIER, 0] = 1
    calls[CARRIER, GAP] = -1
    calls[:40, LOCAL] = 0
    calls[CARRIER, LOCAL] = 1
    numbers = {"trait": generator.normal(size=200), "age": generator.integers(20, 90, 200).astype(float)}
    of = panel([1] * 200 + [2] * 100, np.full(300, 0.4))
    whole = site(calls, of=of, numbers=numbers, sex=generator.integers(1, 3, 200))
    return whole, cut(whole, np.array_split(np.arange(200), 5))


def total(parts, query, request, settings):
    """The sum of what DIZ answer, and its guards' totals."""
    found = [answered(query, part, request, settings) for part in parts]
    return {name: sum(answer[name] for answer in found) for name in found[0]}


def components(loadings, mean=None, index=None):
    """Arrays of a design with covariate age and four components."""
    index = np.arange(1, 200) if index is None else index
    return {
        **COVARIATES,
        "pc_index": index,
        "pc_mean": np.zeros(len(index)) if mean is None else mean,
        "pc_scale": np.ones(len(index)),
        "loadings": loadings,
        "pc_spread": np.ones(4),
    }


def indicator(part, whole):
    """Products of the column that two messages differ by: with the covariate, and with the phenotype."""
    upper = {pair: place for place, pair in enumerate(zip(*np.triu_indices(6), strict=True))}
    first, second = whole
    zz, zy = first["zz"][0] - second["zz"][0], first["zy"][0] - second["zy"][0]
    return zz[upper[1, part]], zy[part]


def test_a_component_that_is_a_rare_variant_is_its_carrier(sites, settings):
    """One column of the design is then one patient's indicator: its products are that patient's genome and trait."""
    whole, parts = sites
    chosen = settings(covariates="age", levels="", min_carriers=1, mind=1.0)
    loadings = np.zeros((200, 4))
    loadings[0] = 1.0
    asked = Request({"start": 0, "stop": 200}, components(loadings, index=np.arange(200)))
    found = sum(gwas_linear(part, asked, chosen)["zg"][:, 1] for part in parts)
    known = np.delete(np.arange(200), GAP)
    np.testing.assert_allclose(found[known], whole.genotypes.calls[CARRIER][known])  # the whole genome, in one answer

    with pytest.raises(InputError, match="that variant's genotypes"):
        answered("gwas_linear", parts[0], asked, chosen)
    rare = replace(whole.panel, alt_frequency=np.where(np.arange(300) == 0, 0.01, 0.4).astype(np.float32))
    with pytest.raises(InputError, match="1 of the 200 variants that the message weighs"):
        check("gwas_linear", Request(asked.config, components(np.ones((200, 4)), index=np.arange(200))), chosen, rare)


@pytest.mark.parametrize("mended", [False, True])
def test_a_missing_call_is_no_group_of_its_own(sites, settings, monkeypatch, mended):
    """A missing call at the message's mean: two messages with different means differ by those without a call."""
    whole, parts = sites
    if not mended:

        def at_the_mean(calls, mean, scale):
            return np.where(calls < 0, 0.0, (calls - mean) / scale)

        monkeypatch.setattr(site_design, "scaled", at_the_mean)
    chosen, index = settings(covariates="age", levels="", mind=1.0), np.delete(np.arange(1, 200), LOCAL - 1)
    ones, means = np.ones((198, 4)), (np.zeros(198), np.where(index == GAP, 1.0, 0.0))
    first, second = (total(parts, "gwas_moments", Request({}, components(ones, mean, index)), chosen) for mean in means)
    age, trait = indicator(2, (first, second))  # of everybody whom the change of the mean moves
    ages, traits = whole.numbers["age"], whole.numbers["trait"]
    if mended:
        assert age == pytest.approx(ages.sum())  # all alike
        assert trait == pytest.approx(traits.sum())
    else:
        assert ages.sum() - age == pytest.approx(ages[CARRIER])
        assert traits.sum() - trait == pytest.approx(traits[CARRIER])


def test_a_variant_that_few_carry_at_a_diz_has_no_second_representation(sites, settings, monkeypatch):
    """Raw in its own row, and alike for all in a component: the two differ by its few carriers there."""
    whole, parts = sites
    chosen = settings(covariates="age", levels="", mind=1.0)
    loadings = np.ones((199, 4))
    loadings[LOCAL - 1, 1] = 2.0
    asked = Request({"start": 1, "stop": 200}, components(loadings))

    def alike(calls, mean, scale):
        carried = (calls > 0).sum(axis=0)
        return np.where(carried < chosen.min_carriers, 0.0, np.maximum(calls, 0.0))

    with monkeypatch.context() as patch:
        patch.setattr(site_design, "scaled", alike)
        row = sum(ANSWERS["gwas_linear"](part, asked, chosen)["gy"][LOCAL - 1] for part in parts)
        zy = sum(ANSWERS["gwas_moments"](part, asked, chosen)["zy"][0] for part in parts)
    assert row - (zy[3] - zy[2]) == pytest.approx(whole.numbers["trait"][CARRIER])

    assert np.flatnonzero(few(parts[0], chosen)).tolist() == [0, LOCAL]
    with pytest.raises(InputError, match="1 of the 199 variants that the message weighs are not at this DIZ"):
        answered("gwas_linear", parts[0], asked, chosen)
    plain = settings(covariates="age", levels="", mind=1.0, pcs=0)
    found = total(parts, "gwas_linear", Request({"start": LOCAL, "stop": LOCAL + 1}, COVARIATES), plain)
    rest = np.arange(200) >= 40
    there = whole.genotypes.calls[rest, LOCAL]
    assert found["gy"][0] == pytest.approx(there @ whole.numbers["trait"][rest])  # in every query without that DIZ
    span = Request({"start": 0, "stop": 10}, {})
    for query in ("gwas_variants", "gwas_counts"):
        answer = answered(query, parts[0], span, plain)
        assert answer["harmony"][LOCAL, ABSENT] == 1 if query == "gwas_variants" else not answer["counts"][LOCAL].any()


def test_what_few_carry_counts_by_analysed_samples_and_panel(sites, settings):
    whole, parts = sites
    part = parts[0]
    chosen = settings(covariates="age", levels="", mind=1.0)
    assert few(part, chosen).any()
    assert not few(part, settings(covariates="age", levels="", mind=1.0, min_carriers=1)).any()
    rare = replace(part, panel=replace(whole.panel, alt_frequency=np.full(300, 0.01, dtype=np.float32)))
    assert not few(rare, chosen).any()
    ages = part.numbers["age"].copy()
    ages[CARRIER] = np.nan
    other = replace(part, numbers={**part.numbers, "age": ages})
    assert np.flatnonzero(few(other, chosen)).tolist() == []  # nobody who is analysed carries it
    assert as_asked(part, chosen) is as_asked(part, chosen)
    assert variants(as_asked(part, chosen), Request({"start": 0, "stop": 3}, {}), chosen)["harmony"][0, ABSENT] == 1


def test_shares_of_missing_calls_are_of_all_that_the_file_has(sites, settings):
    """Else who is analysed would depend on what few carry."""
    _, parts = sites
    part = parts[0]
    limit = settings(covariates="age", levels="", mind=1.5 / 300)
    calls = part.genotypes.calls.copy()
    calls[CARRIER, [20, 21]] = -1
    calls[3, [22, LOCAL]] = -1
    part = replace(part, genotypes=replace(part.genotypes, calls=calls))
    kept = site_design.analysed(as_asked(part, limit), limit)
    np.testing.assert_array_equal(kept, site_design.analysed(part, limit))
    assert np.flatnonzero(~kept).tolist() == [3, CARRIER]


def test_a_patient_with_two_samples_is_refused(sites, settings):
    """Ten carriers could be one patient's ten samples."""
    _, parts = sites
    part = replace(parts[0], patients=("p0", "p0", *parts[0].patients[2:]))
    chosen = settings(pcs=0, covariates="age", levels="", mind=1.0)
    with pytest.raises(InputError, match="1 analysed samples are of patients who have another one"):
        answered("gwas_samples", part, Request({}, {}), chosen)
    ages = part.numbers["age"].copy()
    ages[1] = np.nan
    answered("gwas_samples", replace(part, numbers={**part.numbers, "age": ages}), Request({}, {}), chosen)


def test_sums_by_fold_are_guarded_by_fold(sites, settings):
    """Twelve carriers are enough, but not those of one fold: its sums would be theirs."""
    whole, _ = sites
    chosen = settings(analysis="two-step", covariates="age", levels="", pcs=0, mind=1.0)
    calls = whole.genotypes.calls.copy()
    fold = folds(whole, chosen)
    lone = np.flatnonzero(fold == 0)[0]
    calls[:, 9] = 0
    calls[[lone, *np.flatnonzero(fold == 1)[:11]], 9] = 1
    one = replace(whole, genotypes=replace(whole.genotypes, calls=calls))
    arrays = {**COVARIATES, "ridge_index": np.arange(1, 150), "ridge_mean": np.zeros(149), "ridge_scale": np.ones(149)}
    found = answered("gwas_ridge", one, Request({}, arrays), chosen)
    row = 9 - 1
    assert found["xx"][row, row, 0] == 1
    assert found["xz"][row, 1, 0] == one.numbers["age"][lone]  # what the sums say
    np.testing.assert_array_equal(found["xx"][row, 10:, 0], calls[lone, 11:150])

    assert found["carriers"].shape == (149, 10)
    assert found["carriers"][row].min() == 0 < 10 < found["carriers"][row, ::2].sum()  # so the row does not leave
    assert (found["carriers"][20:].min(axis=1) >= 10).all()


def test_predictions_of_a_variant_are_refused(sites, settings):
    """A block of one variant is its genotypes, by fold."""
    whole, _ = sites
    chosen = settings(analysis="two-step", covariates="age", levels="", pcs=0, mind=1.0)
    index, J = np.arange(7, 27), len(chosen.ridge)
    arrays = {**COVARIATES, "ridge_index": index, "ridge_mean": np.zeros(20), "ridge_scale": np.ones(20)}
    weights = {"weights": np.full((20, 5 * J), 0.1)}
    found = answered("gwas_level1", whole, Request({}, {**arrays, **weights, "block": np.zeros(20, int)}), chosen)
    assert found["classes"].tolist() == [np.bincount(folds(whole, chosen)).tolist()]
    with pytest.raises(InputError, match="fewer than 20 variants"):
        answered("gwas_level1", whole, Request({}, {**arrays, **weights, "block": np.arange(20)}), chosen)


def test_a_score_s_tenths_have_no_cuts_of_a_message(sites, settings):
    """A cut next to the oldest patient leaves that patient alone in a bin, and the others' bins tell the rest."""
    whole, _ = sites
    chosen = settings(analysis="score", covariates="age", levels="", pcs=0, mind=1.0)
    tested = replace(whole, train=np.arange(200) < 80)
    ages = tested.numbers["age"]
    ages[150] = 99.0
    arrays = {
        **COVARIATES,
        "index": np.array([30, 31]),
        "mean": np.ones(2),
        "weights": np.full(2, 1e-9),
        "covariates": np.array([0.0, 1.0]),
    }
    above = np.bincount((ages[80:] > 98.5).astype(int))
    assert above[1] == 1  # what a cut would have shown

    found = answered("score_check", tested, Request({}, arrays), chosen)
    cuts = {"ranges": np.array([0.0, 1.0, 98.5, 1e-9])}
    again = answered("score_check", tested, Request({}, {**arrays, **cuts}), chosen)
    for name, array in found.items():
        np.testing.assert_array_equal(again[name], array)
    assert found["people"].tolist() == [[12] * 10] == found["tenths"][:, :, 0].tolist()


def test_a_score_s_means_do_not_single_out_who_has_no_call(sites, settings):
    """Rows of one variant with two means differ by everybody alike."""
    whole, _ = sites
    chosen = settings(analysis="score", covariates="age", levels="", pcs=0, mind=1.0)
    index = np.arange(1, 100)
    rows = []
    for mean in (0.0, 1.0):
        arrays = {"index": index, "mean": np.where(index == GAP, mean, 1.0)}
        rows.append(answered("score_ld", whole, Request({}, arrays), chosen)["xx"][GAP - 1])
    others = np.delete(np.arange(99), GAP - 1)
    everybody = (np.maximum(whole.genotypes.calls, 0)[:, 1:100] - 1.0).sum(axis=0)
    np.testing.assert_allclose((rows[0] - rows[1])[others], everybody[others])


def test_a_prediction_is_never_refused_for_its_size(sites, settings):
    """Refusals that depend on a patient's values would tell them, bit by bit."""
    whole, _ = sites
    chosen = settings(analysis="two-step", covariates="age", levels="", pcs=0, mind=1.0)
    for size in (1e-3, 1.0, 100.0):
        arrays = {
            **COVARIATES,
            "loco_index": np.arange(1, 4),
            "loco_mean": np.zeros(3),
            "loco_scale": np.ones(3),
            "loco_weights": np.zeros((3, 5)),
            "loco_z": np.tile([[0.0, size]], (5, 1)),
            "loco_chromosome": np.array([9]),
        }
        answered("gwas_moments", whole, Request({}, arrays), chosen)


def test_a_rare_variant_s_row_is_guarded(sites, settings):
    """What a row about one carrier would tell is theirs; the contract lets it out with its count of carriers alone."""
    whole, parts = sites
    chosen = settings(pcs=0, covariates="age", levels="")
    asked = Request({"start": 0, "stop": 3}, {"centre": np.zeros(2), "scale": np.ones(2)})
    answers = [gwas_linear(part, asked, chosen) for part in parts]
    found = sum(answer["gy"][0] for answer in answers)
    np.testing.assert_allclose(found, whole.numbers["trait"][CARRIER])

    carriers = sum(answer["carriers"][:, :2] for answer in answers)
    assert carriers[0].tolist() == [1, 200]
    assert (carriers[1:] >= 10).all()
    counts = sum(gwas_counts(part, asked, chosen)["carriers"][:, :2] for part in parts)
    np.testing.assert_array_equal(counts, carriers)


def test_a_message_is_checked_before_it_is_answered(prepared, defaults, identity):
    """Whatever handler: the ClientApp refuses a range beyond the panel, and another analysis's query."""
    config = {"data-genotypes": str(prepared() / "DIZ-1" / "genotypes")}

    def send(query: str, stop: int) -> Message:
        content = RecordDict(
            {
                "span": ConfigRecord({"start": 0, "stop": stop}),
                "design": ArrayRecord({"centre": Array(np.zeros(2)), "scale": Array(np.ones(2))}),
            }
        )
        message = Message(content, message_type=f"query.{query}", dst_node_id=1)
        return client_app.app(message, Context(1, 1, config, RecordDict(), {**defaults, "pcs": 0}))

    assert send("gwas_variants", 300).content.array_records["sums"]["harmony"].numpy().shape == (300, 8)
    for query, stop, text in (("gwas_variants", 5000, "not a chunk"), ("gwas_logistic", 300, "does not ask")):
        with pytest.raises(InputError, match=text):
            send(query, stop)
