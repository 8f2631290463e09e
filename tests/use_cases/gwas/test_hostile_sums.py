"""Sums about few people stay at the DIZ: levels, genotypes, those who leave a test, DIZ.

Each attack reads one patient's row from the sums of all DIZ; then that the contract's guards hold these sums back.
"""

import tomllib

import numpy as np
import pytest
from gwas.client_app import ANSWERS
from gwas.errors import InputError
from gwas.logistic_run import run as logistic
from gwas.quality_run import run as quality_of
from gwas.results import FEW_HOMOZYGOTES, FIRTH, NOT_CONVERGED, OK
from gwas.site import Request

from flame_fl.contract.terms import Terms
from tests.use_cases.gwas import plink_files
from tests.use_cases.gwas.conftest import PYPROJECT
from tests.use_cases.gwas.made import cut, panel, site

PATIENT = 137
"""At the second of five DIZ of a hundred each."""

VARIANTS = 150
LEVELS = {"batch": ("a", "b", "c")}


def study(*, calls_of=None, levels=None, absent=None):
    """Five DIZ, and the whole."""
    generator = np.random.default_rng(2)
    calls = generator.binomial(2, generator.uniform(0.3, 0.5, VARIANTS), (500, VARIANTS)).astype(np.int8)
    numbers = {
        "trait": generator.normal(size=500),
        "age": generator.integers(20, 90, 500).astype(float),
        "disease": generator.integers(1, 3, 500),
    }
    batch = generator.integers(0, 2, 500)
    for variant, change in (calls_of or {}).items():
        calls[:, variant] = change(calls[:, variant], generator)
    if levels is not None:
        batch = levels(batch)
    whole = site(calls, of=panel([1] * VARIANTS), numbers=numbers, codes={"batch": batch}, levels=LEVELS)
    parts = cut(whole, np.array_split(np.arange(500), 5))
    for diz, variants in (absent or {}).items():
        lacking = site(parts[diz].genotypes.calls, absent=variants).genotypes.harmony
        object.__setattr__(parts[diz].genotypes, "harmony", lacking)
    return whole, parts


def asked(query, parts, chosen, config=None, **arrays):
    """The sums over all DIZ, before any guard."""
    request = Request(config or {"start": 0, "stop": VARIANTS}, arrays)
    answers = [ANSWERS[query](part, request, chosen) for part in parts]
    return {name: sum(answer[name] for answer in answers) for name in answers[0]}


def left(query, sums):
    """What the contract lets out of them, with its own minimum."""
    terms = Terms.model_validate(tomllib.loads(PYPROJECT.read_text())["tool"]["flame"])
    least, rules = terms.secure_aggregation.min_total, terms.messages[f"query.{query}"]
    assert {rule.name for rule in rules.arrays} == set(sums)
    found = {}
    for rule in rules.leaving.arrays:
        guarded = next(of for of in rules.arrays if of.name == rule.name)
        hidden = np.zeros(len(sums[rule.name]), dtype=bool)
        if guarded.guard:
            hidden |= (sums[guarded.guard] < least).any(axis=1)
        if guarded.guard_zero:
            of = sums[guarded.guard_zero]
            hidden |= ((of > 0) & (of < least)).any(axis=1)
        found[rule.name] = sums[rule.name].copy()
        found[rule.name][hidden] = 0
    return found


def plain(numeric=1):
    """Centres and scales that change nothing."""
    return {"centre": np.zeros(numeric + 1), "scale": np.ones(numeric + 1)}


def test_a_level_with_one_patient_is_that_patient(settings):
    """The column of the level: the products with it are the genome, the trait and the age."""

    def alone(batch):
        batch[PATIENT] = 2
        return batch

    whole, parts = study(levels=alone)
    chosen = settings(pcs=0, covariates="age, batch", levels="batch=a|b|c")
    rows, null = (asked(query, parts, chosen, **plain()) for query in ("gwas_linear", "gwas_moments"))
    np.testing.assert_array_equal(rows["zg"][:, 2], whole.genotypes.calls[PATIENT])
    assert null["zy"][0, 3] == whole.numbers["trait"][PATIENT]
    assert null["zz"][0, 6] == whole.numbers["age"][PATIENT]  # (1, 3) of the packed triangle of 4

    for query, sums in (
        ("gwas_linear", rows),
        ("gwas_moments", null),
        ("gwas_centre", asked("gwas_centre", parts, chosen)),
    ):
        assert not any(array.any() for array in left(query, sums).values()), query
    without = settings(pcs=0, covariates="age", levels="")
    assert left("gwas_linear", asked("gwas_linear", parts, without, **plain()))["zg"].all()


@pytest.mark.parametrize("query", ["gwas_null", "gwas_logistic"])
def test_few_cases_hide_the_sums_of_a_disease(settings, query):
    _, parts = study()
    for part in parts:
        part.numbers["disease"][:] = 1.0
        part.numbers["disease"][0] = 2.0
    chosen = settings(analysis="logistic", phenotype="disease", cases="2", pcs=0, covariates="age", levels="")
    fit = {"coefficients": np.zeros((1, 3 if query == "gwas_logistic" else 2)), "index": np.array([0])}
    sums = asked(query, parts, chosen, **plain(), **fit)
    assert sums["counts"][0, :2].tolist() == [500, 5]
    assert not any(array.any() for array in left(query, sums).values())


def only_homozygote(calls, generator):
    calls = generator.binomial(1, 0.2, 500).astype(np.int8)
    calls[PATIENT] = 2
    return calls


def test_weights_that_differ_by_genotype_tell_the_only_homozygote(settings):
    """Three equations, of the copies, of w and of w g, have the sums over the three genotypes as their solution."""
    whole, parts = study(calls_of={9: only_homozygote})
    chosen = settings(analysis="logistic", phenotype="disease", cases="2", pcs=0, covariates="age", levels="")
    design = {"centre": np.zeros(2), "scale": np.array([100.0, 1.0])}
    b = np.array([[0.0, 0.0, 1.0]])
    span = {"start": 9, "stop": 10}
    sums = asked("gwas_logistic", parts, chosen, span, **design, coefficients=b, index=np.array([9]))
    null = asked("gwas_moments", parts, chosen, **design)
    w = 1 / (2 + 2 * np.cosh(np.arange(3.0)))
    of_age = sums["hessian"][0, [1, 4]]  # with the ones, and with g
    found = np.linalg.solve([w, w * [0, 1, 2], np.ones(3)], [*of_age, null["zz"][0, 1]])
    assert found[2] * 100 == pytest.approx(whole.numbers["age"][PATIENT])
    assert (sums["carriers"] >= 10).all()  # carriers are many

    assert not any(array.any() for array in left("gwas_logistic", sums).values())
    common = asked("gwas_logistic", parts, chosen, **design, coefficients=b, index=np.array([30]))
    assert left("gwas_logistic", common)["hessian"].all()


def test_a_component_beside_a_row_without_the_missing_calls_tells_who_lacks_one(settings):
    """A component is of filled calls, a row of called ones: the difference is the patient whose call is missing."""

    def lacks(calls, _):
        return np.where(np.arange(500) == PATIENT, -1, np.maximum(calls, 1))  # the most frequent call is 1

    whole, parts = study(calls_of={7: lacks})
    chosen = settings(pcs=0, covariates="age", levels="", missing="exclude")
    rows = asked("gwas_linear", parts, chosen, **plain())
    filled = np.where(whole.genotypes.calls[:, 7] < 0, 1, whole.genotypes.calls[:, 7])
    assert filled @ whole.numbers["age"] - rows["zg"][7, 0] == whole.numbers["age"][PATIENT]

    out = left("gwas_linear", rows)
    assert not any(array[7].any() for array in out.values())
    assert out["zg"][8].all()
    imputed = left("gwas_linear", asked("gwas_linear", parts, settings(pcs=0, covariates="age", levels=""), **plain()))
    assert imputed["zg"][7, 0] == filled @ whole.numbers["age"]  # the row is of the same numbers as the component


def test_one_missing_call_does_not_show_a_diz_s_frequency(settings):
    """What it is filled with is 0, 1 or 2."""

    def lacks(calls, _):
        return np.where(np.arange(500) == PATIENT, -1, calls)

    _, parts = study(calls_of={8: lacks})
    sums = asked("gwas_linear", parts, settings(pcs=0, covariates="age", levels=""), **plain())
    assert sums["g"].dtype.kind == "i"
    assert (sums["g"] - sums["copies"])[8] in (0, 1, 2)
    assert set(left("gwas_linear", sums)) == {"n", "copies", "g", "gg", "zg", "gy", "mzz", "mzy", "myy"}


def test_a_variant_of_two_diz_has_no_row(settings):
    """Their sums are known to each other otherwise: `min-sites` must contribute, whatever the hub asks."""
    chosen = settings(pcs=0, covariates="age", levels="")
    disease = settings(analysis="logistic", phenotype="disease", cases="2", pcs=0, covariates="age", levels="")
    _, parts = study(absent={0: [3, 4], 1: [3, 4], 2: [3]})
    linear = asked("gwas_linear", parts, chosen, **plain())
    assert linear["n"][3:5].tolist() == [200, 300]
    counts = asked("gwas_counts", parts, chosen)
    fit = {"coefficients": np.zeros((2, 3)), "index": np.array([3, 4])}
    fitted = asked("gwas_logistic", parts, disease, **plain(), **fit)
    assert left("gwas_linear", linear)["zg"][3:5].any(axis=1).tolist() == [False, True]
    assert left("gwas_counts", counts)["counts"][3:5].any(axis=1).tolist() == [False, True]
    assert left("gwas_logistic", fitted)["counts"].any(axis=1).tolist() == [False, True]


def test_a_level_of_few_at_a_diz_without_the_variant_hides_it(settings):
    """What this DIZ takes away is told apart, by level."""

    def three(batch):
        batch[:100] = 0
        batch[:3] = 1
        return batch

    whole, parts = study(levels=three, absent={0: [5]})
    chosen = settings(pcs=0, covariates="age, batch", levels="batch=a|b")
    sums = asked("gwas_linear", parts, chosen, **plain())
    assert sums["mzz"][5, 4] == whole.numbers["age"][:3].sum()
    out = left("gwas_linear", sums)
    assert not any(array[5].any() for array in out.values())
    assert out["zg"][6].all()


def test_firth_s_sums_tell_of_who_has_two_variants_at_once(settings):
    """Fourth moments: an inverse information with one element makes g1 g2 the weight. By default they do not leave."""
    config = {"analysis": "logistic", "phenotype": "disease", "cases": "2", "pcs": 0, "covariates": "age, other"}
    whole, parts = study()
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 500)) < 0.2
    second &= ~first
    first[PATIENT] = second[PATIENT] = True
    for number, part in enumerate(parts):
        part.numbers["other"] = first[number * 100 : number * 100 + 100].astype(float)  # as a component could be
        part.genotypes.calls[:, 0] = second[number * 100 : number * 100 + 100]
    inverse = np.zeros((1, 10))
    inverse[0, 8] = 1.0  # (2, 3): of the other and the variant
    fit = {"index": np.array([0]), "coefficients": np.zeros((1, 4)), **plain(2)}
    allowed = settings(**config, levels="", firth="fallback")
    none, some = (asked("gwas_firth", parts, allowed, **fit, inverse=v) for v in (0 * inverse, inverse))
    found = (some["curvature"] - none["curvature"])[0] * 8  # w w (1 + h) at b = 0
    assert found[0] == pytest.approx(1.0)
    assert found[1] == pytest.approx(whole.numbers["age"][PATIENT])

    with pytest.raises(InputError, match="not answered"):
        asked("gwas_firth", parts, settings(**config, levels=""), **fit, inverse=inverse)


def test_a_run_says_which_variants_have_few_homozygotes(tmp_path):
    """And without Firth's penalty, which is the default, separated ones have no test."""
    cohort = plink_files.made_up(600, 6, 4, chromosome=[1] * 6, missing=0.0)
    generator = np.random.default_rng(1)
    cohort.calls[:] = generator.binomial(2, 0.4, cohort.calls.shape)
    cohort.calls[:, 2] = generator.binomial(1, 0.2, 600)
    cohort.calls[:4, 2] = 2
    cohort.sheet["y"] = generator.integers(1, 3, 600).astype(float)
    cohort.calls[:, 4] = (cohort.sheet["y"] == 2) & (generator.random(600) < 0.2)
    asked_for = plink_files.settings_of(
        analysis="logistic", cases="2", min_carriers=10, coefficient_limit=30.0, saturation=10.0, firth="no"
    )
    exchange = plink_files.SiteExchange(cohort.sites(tmp_path), asked_for, ANSWERS)
    exchange.change = lambda message, sums: left(message.removeprefix("query."), sums)
    hub = plink_files.MemoryHub(
        object(), exchange.sites, asked_for, cohort.panel, 1, 1.0, tmp_path / "run", exchange=exchange
    )
    table = plink_files.rows(logistic(hub, quality_of(hub), None))
    assert table["status"].tolist() == [OK, OK, FEW_HOMOZYGOTES, OK, NOT_CONVERGED, OK]
    assert FIRTH not in set(table["test"])
