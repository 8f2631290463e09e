"""What a DIZ answers, against a second writing of the same queries and against the pooled rows."""

import numpy as np
import pytest
from flame_strategies.elastic_net import fit_elastic_net
from flame_strategies.in_memory import InMemorySites, SiteRows
from flame_strategies.reference import Reference
from flame_strategies.sums import Content, Sums, add_up
from hypothesis import given, settings
from hypothesis import strategies as st
from methylation_age import horvath, sums
from methylation_age.cohort import Cohort


def cohort(n: int, p: int, seed: int, missing: float = 0.05) -> Cohort:
    generator = np.random.default_rng(seed)
    age = generator.uniform(0, 90, n)
    betas = np.clip(0.5 + np.outer(horvath.transform(age), generator.normal(0, 0.1, p)), 0, 1)
    betas += generator.normal(0, 0.02, betas.shape)
    betas[generator.random(betas.shape) < missing] = np.nan
    return Cohort(betas, age, horvath.transform(age), tuple(f"P{row // 2}" for row in range(n)))


def part(whole: Cohort, rows: np.ndarray) -> Cohort:
    patients = tuple(whole.patient_ids[row] for row in rows)
    return Cohort(whole.betas[rows], whole.age[rows], whole.target[rows], patients)


def answer(cohort: Cohort, message_type: str, content: Content) -> Sums:
    if message_type == "query.moments":
        return sums.moments(cohort)
    folds = sums.split_folds(cohort, sums.Reference.from_arrays(content["reference"]), int(content["folds"]["folds"]))
    if message_type == "query.target":
        return sums.target(folds)
    return sums.columns(folds, content["reference"]["columns"])


def test_answers_equal_the_protocol_s_own_writing() -> None:
    """Each query gives the numbers that the strategy's in-memory site gives, missing values included."""
    ours = cohort(40, 12, seed=0)
    theirs = SiteRows(ours.betas, ours.target, ours.patient_ids)
    reference = Reference.from_moments(add_up({0: sums.moments(ours)})).content()
    content = {"reference": {**reference, "columns": np.array([3, 0, 7])}, "folds": {"folds": 3}}
    for message_type in ("query.moments", "query.target", "query.columns"):
        mine, other = answer(ours, message_type, content), theirs.answer(message_type, content)
        assert mine.keys() == other.keys()
        for name in mine:
            np.testing.assert_allclose(mine[name], other[name], rtol=1e-12, atol=1e-12, err_msg=name)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_any_split_gives_the_same_clock(seed: int, sites: int) -> None:
    """However the rows are dealt out, the fit over the answers' sums is the fit over the pooled rows."""
    whole = cohort(60, 8, seed=3)
    site_of = np.random.default_rng(seed).integers(0, sites, len(whole))
    parts = [part(whole, np.flatnonzero(site_of == site)) for site in range(sites)]
    federated = fit_elastic_net(
        lambda kind, content: add_up({i: answer(site, kind, content) for i, site in enumerate(parts)}),
        num_lambdas=6,
        folds=3,
    )
    pooled = fit_elastic_net(
        InMemorySites([SiteRows(whole.betas, whole.target, whole.patient_ids)]), num_lambdas=6, folds=3
    )
    np.testing.assert_allclose(federated.coefficients, pooled.coefficients, rtol=1e-8, atol=1e-10)


def test_a_patient_s_samples_share_a_fold() -> None:
    """The fold depends on the patient, and on nothing else."""
    whole = cohort(60, 4, seed=0)
    reference = sums.Reference.from_arrays(Reference.from_moments(add_up({0: sums.moments(whole)})).content())
    sizes = [len(y) for y in sums.split_folds(whole, reference, 4).y]
    expected = np.bincount([sums.fold_of(patient, 4) for patient in whole.patient_ids], minlength=4)
    assert sizes == expected.tolist()
    assert all(size % 2 == 0 for size in sizes)


@pytest.mark.parametrize("name", ["centre", "scale", "y_centre", "y_scale"])
def test_another_reference_has_another_digest(name: str) -> None:
    """Cached standardised rows are not used for a reference that differs in any number."""
    arrays = {name: np.array([1.0, 2.0]) for name in ("centre", "scale", "y_centre", "y_scale")}
    before = sums.Reference.from_arrays(arrays).digest()
    arrays[name] = arrays[name] + 1e-12
    assert sums.Reference.from_arrays(arrays).digest() != before
