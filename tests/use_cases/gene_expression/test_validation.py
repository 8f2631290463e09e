"""Who is in which set, and what a site refuses."""

import numpy as np
import pytest
from flame_strategies.sums import to_records
from flwr.app import RecordDict
from gene_expression.errors import InputError
from gene_expression.table import Request
from gene_expression.validation import (
    MOST_HALVES,
    Population,
    check_folds,
    member,
    members,
    patient_folds,
    site_folds,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.use_cases.gene_expression.phenotype_sites import Study, make

NODES = tuple(2**63 + home for home in range(5))


def study() -> Study:
    return make(60, 3)


def sets(population: Population, **more):
    """(count, n) over all rows of the study, from what each site says of its own."""
    whole, found = study(), np.zeros((population.count, 60), dtype=bool)
    for home, node in enumerate(NODES):
        rows = np.flatnonzero(whole.home == home)
        request = Request({**population.content(), **more})
        found[:, rows] = members(whole.table(whole.home == home, node), request)
    return found


@given(folds=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_folds_of_patients_part_the_training_samples(folds, seed):
    """Each is held out once; the training sets are the rest; test samples are in none."""
    train = study().codes["split"] == 0
    population = patient_folds(folds, seed)
    inside = sets(population)
    outside = np.concatenate([sets(population.one(k, held_out=True)) for k in range(folds)])
    np.testing.assert_array_equal(outside.sum(axis=0), train)
    np.testing.assert_array_equal(inside | outside, np.repeat(train[None], folds, axis=0))
    assert not (inside & outside).any()


def test_all_samples_of_a_patient_are_on_one_side():
    """Also where they lie at different sites."""
    whole = study()
    patients = tuple(f"P{row // 4}" for row in range(60))
    table = Study(whole.genes, whole.numbers, whole.codes, whole.home, patients).table(np.ones(60, dtype=bool), 1)
    for population in (patient_folds(3), Population("halves", count=6)):
        inside = members(table, Request({**population.content(), "of_split": "all"}))
        np.testing.assert_array_equal(inside[:, ::4].repeat(4, axis=1), inside)


def test_groups_of_sites_part_the_sites():
    """Five sites: three and two; a held-out site has nobody in the training set."""
    population = site_folds(NODES)
    assert sorted(population.groups) == [0, 0, 0, 1, 1]
    whole = study()
    train = whole.codes["split"] == 0
    groups = np.array(population.groups)[whole.home]
    np.testing.assert_array_equal(sets(population), train & (groups != np.arange(2)[:, None]))
    np.testing.assert_array_equal(sets(population.one(1, held_out=True))[0], train & (groups == 1))


@pytest.mark.parametrize(("sites", "groups"), [(3, 2), (5, 3), (8, 1)])
def test_the_hub_makes_no_group_of_one_site(sites, groups):
    """Nor a single group, whose complement is empty."""
    with pytest.raises(InputError, match="groups"):
        site_folds(range(sites), groups)


@pytest.mark.parametrize(
    ("nodes", "groups", "says"),
    [
        (NODES, (0, 1, 1, 1, 1), "at least 2"),
        (NODES, (1, 0, 0, 0, 0), "at least 2"),
        (NODES, (0, 0, 0, 0, 0), "at least 2 groups"),
        ((*NODES[:4], NODES[0]), (0, 0, 1, 1, 1), "one group"),
        (NODES[:4], (0, 0, 1), "one group"),
        (tuple(node + 10 for node in NODES), (0, 0, 0, 1, 1), "none of the groups"),
    ],
)
def test_a_site_refuses_groups_that_single_one_out(nodes, groups, says):
    """Whatever the hub's own checks are."""
    table = study().table(study().home == 0, NODES[0])
    content = {**Population("sites").content(), "of_nodes": [str(n) for n in nodes], "of_groups": list(groups)}
    with pytest.raises(InputError, match=says):
        members(table, Request(content))


def test_a_site_refuses_groups_that_were_not_approved():
    """The run config's word is part of what was approved."""
    with pytest.raises(InputError, match="not approved"):
        sets(site_folds(NODES), approved_validation="patients")
    assert sets(site_folds(NODES), approved_validation="sites").any()


@pytest.mark.parametrize(
    ("population", "approved"),
    [
        (patient_folds(4), {"approved_outer-folds": 5}),
        (patient_folds(5, seed=1), {"approved_seed": 0}),
        (Population("halves", count=4), {"approved_stability": 3}),
        (Population("halves", count=4, seed=1), {"approved_seed": 0}),
        (site_folds(NODES), {"approved_site-groups": 3}),
    ],
    ids=["folds", "seed of folds", "halves", "seed of halves", "groups"],
)
def test_a_site_refuses_a_division_that_was_not_approved(population, approved):
    """Sums over two divisions of the patients could be crossed; with the approved one it answers."""
    with pytest.raises(InputError, match="approved run config"):
        sets(population, **approved)
    said = population.content()
    right = {
        "approved_outer-folds": said["of_folds"],
        "approved_seed": said["of_seed"],
        "approved_stability": population.count,
        "approved_site-groups": 2,
    }
    assert sets(population, **right).any()


def test_a_site_refuses_other_folds_for_the_penalty():
    """None is no division; the approved number is answered."""
    request = Request({"approved_folds": 5})
    with pytest.raises(InputError, match="number of folds"):
        check_folds(request, 4)
    check_folds(request, 0)
    check_folds(request, 5)


@given(seed=st.integers(0, 2**31), pair=st.integers(0, 20))
def test_halves_come_in_complementary_pairs(seed, pair):
    """Half 2i and half 2i + 1 are all training samples, each once."""
    first, second = sets(Population("halves", seed=seed, first=2 * pair, count=2))
    np.testing.assert_array_equal(first ^ second, study().codes["split"] == 0)


def test_halves_are_halves_and_differ():
    """Of 2000 patients within five standard deviations; two halves share about a quarter."""
    whole = make(2000)
    table = whole.table(np.ones(2000, dtype=bool), 1)
    inside = members(table, Request({**Population("halves", count=20).content(), "of_split": "all"}))
    assert np.abs(inside.mean(axis=1) - 0.5).max() < 5 * 0.5 / np.sqrt(2000)
    assert abs((inside[0] & inside[2]).mean() - 0.25) < 5 * 0.5 / np.sqrt(2000)


def test_folds_of_different_seeds_and_purposes_are_unrelated():
    """Else the inner folds of an outer one would be empty."""
    whole = make(2000)
    table = whole.table(np.ones(2000, dtype=bool), 1)
    ask = {"of_split": "all"}
    one, other = (~members(table, Request({**patient_folds(4, seed).content(), **ask})) for seed in (0, 1))
    shared = np.array([[(a & b).mean() for b in other] for a in one])
    assert np.abs(shared - 1 / 16).max() < 0.03


def test_too_many_halves_are_refused():
    """Each is another equation about the same patients."""
    with pytest.raises(InputError, match="At most"):
        sets(Population("halves", first=MOST_HALVES - 1, count=2))
    assert sets(Population("halves", first=MOST_HALVES - 1)).any()


@pytest.mark.parametrize(
    "content",
    [
        {"of_scheme": "one"},
        {"of_split": "mine"},
        {"of_first": -1},
        {"of_count": 0},
        {**patient_folds(2).content(), "of_folds": 1},
    ],
)
def test_other_sets_are_refused(content):
    """There is no way to name single samples."""
    with pytest.raises(InputError):
        sets(Population(), **content)


def test_a_query_about_one_set_gets_one():
    """A sum over several would be of nobody knows whom."""
    table = study().table(study().home == 0, NODES[0])
    with pytest.raises(InputError, match="one set"):
        member(table, Request(patient_folds(3).content()))


def test_ids_of_64_bits_survive_the_way_through_a_message():
    """Flower's ids are larger than the numbers of its records."""
    records: RecordDict = to_records({"of": site_folds(NODES).content()})
    config = dict(records.config_records["of"])
    np.testing.assert_array_equal(sets(site_folds(NODES)), sets(Population("sites", count=2), **config))


def test_a_store_without_split_is_all_for_training():
    """And has nobody to test on."""
    whole = study()
    codes = {name: column for name, column in whole.codes.items() if name != "split"}
    table = Study(whole.genes, whole.numbers, codes, whole.home, whole.patients).table(whole.home == 0, 1)
    assert member(table, Request(Population().content())).all()
    assert not member(table, Request(Population(split="test").content())).any()
