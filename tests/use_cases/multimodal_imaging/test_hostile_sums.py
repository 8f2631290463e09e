"""Sums over all DIZ by which a hub would read one patient, asked as `approved` lets it, tell nothing of one.

Each attack is also made where its rule is off (``min-cell = 1``) or past the refusal, and there it works.
"""

from dataclasses import replace

import numpy as np
import pytest
from multimodal_imaging import approved, client_app
from multimodal_imaging.errors import InputError
from multimodal_imaging.site import Request

from tests.use_cases.multimodal_imaging import made

F = sum(block.values.shape[1] for block in made.site(patients=4).blocks.values())
"""Columns of the made-up study, sbp being the second."""
SBP = 1
SURVIVAL = {"task": "survival", "outcome": "time", "event": "died", "times": "0:2000:200"}


def ask(query, diz, told, config=None, arrays=None, check=True):
    """Sums over the DIZ."""
    config, arrays = config or {}, arrays or {}
    if check:
        approved.check(query, config, arrays, client_app.ASKED, told)
    answers = [client_app.ANSWERS[query](site, Request(told, config, arrays)) for site in diz]
    return {name: sum(answer[name] for answer in answers) for name in answers[0]}


def study(**more):
    """Settings with the rules, the same without, and DIZ in which everybody has everything."""
    told = made.settings(**{"min_cell": 5, **more})
    full = []
    for site in made.sites(5, **more):
        blocks = {
            name: replace(block, values=np.where(np.isfinite(block.values), block.values, 0.5), there=every(site))
            for name, block in site.blocks.items()
        }
        full.append(replace(site, blocks=blocks))
    return told, replace(told, min_cell=1), full


def every(site):
    return np.ones(site.rows, dtype=bool)


def without(diz, name, rows):
    """The first DIZ's patients in `rows` lack the modality."""
    block = diz[0].blocks[name]
    there = block.there.copy()
    there[rows] = False
    lacking = replace(block, values=np.where(there[:, None], block.values, np.nan), there=there)
    return [replace(diz[0], blocks={**diz[0].blocks, name: lacking}), *diz[1:]]


def columns(**more):
    return {"centre": np.zeros(F), "scale": np.ones(F), **more}


def test_everybody_less_those_with_a_modality_is_not_the_one_without():
    told, off, diz = study(missing="impute")
    diz = without(diz, "T1", [0])

    def difference(about):
        both = [ask("mm_moments", diz, about, {"view": view}) for view in ("all", "with:T1")]
        return both[0]["n"][0] - both[1]["n"][0], (both[0]["sum_x"] - both[1]["sum_x"])[1:5]

    n, values = difference(off)
    assert n == 1
    np.testing.assert_allclose(values, diz[0].blocks["phenome"].values[0], atol=1e-9)
    n, values = difference(told)
    assert (n, values.any()) == (0, False)


def test_everybody_less_complete_cases_is_not_a_test_patient_s_outcome():
    told, off, diz = study()
    diz = without(diz, "T1", [3])
    assert not diz[0].train[3]
    arrays = columns(coefficients=np.zeros((1 + F + 3, 1)))

    def difference(about):
        config = [{"split": "test", "view": view} for view in ("all", "complete")]
        both = [ask("mm_values", diz, about, one, arrays)["values"][3] for one in config]
        return both[0] - both[1]

    assert difference(off) == pytest.approx(diz[0].numbers["age"][3])
    assert difference(told) == 0


def test_patients_of_nested_absences_are_not_told_apart():
    """Six lack one modality, five of them another: the outcomes at the two marks differ by one patient's."""
    told, off, diz = study(folds=2)
    inside = np.flatnonzero(diz[0].train & (diz[0].fold(2, told.seed) == 0))[:6]
    diz = without(without(diz, "T1", inside), "genome", inside[:5])

    def difference(about):
        xy = ask("mm_block", diz, about, arrays=columns())["xy"][0, :, 0]
        return xy[F + 2] - xy[F]

    assert difference(off) == pytest.approx(diz[0].numbers["age"][inside[5]])
    assert difference(told) == 0


def test_a_fold_s_mark_is_of_nobody_or_of_enough():
    told, off, diz = study()
    diz = without(diz, "T1", [0, 1, 2, 4, 5, 6])

    def marked(about):
        sums = ask("mm_block", diz, about, arrays=columns())
        return sums["sum_z"][:, -1], sums["xy"][:, -1, 0]

    counts, outcomes = marked(off)
    assert np.isin(outcomes[counts == 1], diz[0].numbers["age"]).any()
    assert not marked(told)[0].any()


def test_a_far_centre_does_not_point_at_who_lacks_a_value():
    told, off, diz = study()
    diz[0].blocks["phenome"].values[8, 0] = np.nan

    def outcome(about, centre, scale, check=True):
        arrays = columns()
        arrays["centre"][SBP], arrays["scale"][SBP] = centre, scale
        sums = ask("mm_block", diz, about, arrays=arrays, check=check)
        return sums["sum_y"].sum() - sums["xy"][:, SBP].sum()

    age = diz[0].numbers["age"][8]
    assert outcome(off, -1e300, 1e300, check=False) == pytest.approx(age)
    with pytest.raises(InputError, match=r"centre|spread"):
        outcome(told, -1e300, 1e300)
    assert outcome(off, -1e9, 1e9) == pytest.approx(age, abs=0.1)
    assert outcome(told, -1e9, 1e9) == pytest.approx(0, abs=0.1)


def test_scores_of_few_in_a_bin_are_those_of_the_bin():
    told, off, diz = study(task="binary")
    b = np.zeros((1 + F + 3, 1))
    b[1 + SBP] = 1 / 8
    arrays = columns(coefficients=b)
    arrays["centre"][SBP] = 130.0
    true = np.concatenate([site.blocks["phenome"].values[~site.train, 0] for site in diz])

    def exact(about):
        sums = ask("mm_scores", diz[:1], about, {"split": "test"}, arrays)
        lone = np.flatnonzero(sums["scores"][1].sum(axis=0) == 1)
        p = sums["sum_p"][1][lone]
        assert len(lone) > 1
        return [np.abs(true - (130 + 8 * np.log(one / (1 - one)))).min() < 1e-9 for one in p]

    assert all(exact(off))
    assert not any(exact(told))


def test_a_stack_has_no_window_by_overflow():
    """A tiny scale made values infinite but in a window around the centre: they counted as missing."""
    told, _, diz = study(analysis="late")
    own = np.zeros((told.folds + 1, F + 3, 1))
    arrays = {"late_coefficients": own, "late_centre": np.zeros(F), "late_scale": np.full(F, 1e-308)}
    stack = {"centre": np.zeros(3), "scale": np.ones(3)}
    with pytest.raises(InputError, match="spread"):
        ask("mm_block", diz, told, {"view": "stack"}, {**arrays, **stack})
    with np.errstate(all="ignore"), pytest.raises(InputError, match="not finite"):
        ask("mm_block", diz, told, {"view": "stack"}, {**arrays, **stack}, check=False)


def test_a_bin_of_time_is_left_by_nobody_or_by_enough():
    told, off, diz = study(**SURVIVAL)
    points = {"coefficients": np.zeros((1, 1 + F + 3, 1)), "fold": np.array([-1]), "kept": np.arange(11)}

    def leaving(about):
        return [ask("mm_cox", [site], about, arrays=columns(**points))["risk"][0, 1] for site in diz]

    assert any((of == 1).any() for of in leaving(off))
    assert all((of[of > 0] >= 5).all() for of in leaving(told))


def test_of_ranks_three_counts_leave():
    told, _, diz = study(**SURVIVAL)
    arrays = columns(coefficients=np.zeros((1 + F + 3, 1)))
    sums = ask("mm_concordance", diz, told, {"split": "test"}, arrays)
    assert {name: array.shape for name, array in sums.items()} == {"n": (1,), "pairs": (3,), "excluded": (1,)}
    assert sums["pairs"][0] == 0 < sums["pairs"][1] == sums["pairs"][2]


def test_gradients_at_thresholds_are_refused():
    told, _, diz = study(task="binary")
    cuts = np.linspace(110, 150, 64)
    points = np.zeros((64, 1 + F + 3, 1))
    points[:, 0, 0], points[:, 1 + SBP, 0] = -1e6 * cuts, 1e6
    arrays = columns(coefficients=points, fold=np.full(64, -1))
    with pytest.raises(InputError, match="coefficient beyond 30"):
        ask("mm_gradient", diz, told, arrays=arrays)
    gradient = ask("mm_gradient", diz, told, arrays=arrays, check=False)["gradient"][..., 0]
    between = gradient[:-1] - gradient[1:]
    lone = np.flatnonzero(np.isclose(between[:, 0], 1))
    values = np.concatenate([site.blocks["phenome"].values[site.train, 0] for site in diz])
    assert np.isclose(values[:, None], between[lone, 1 + SBP]).any(axis=0).all()
    assert len(lone)


def test_a_session_s_centres_are_few():
    """One threshold after the other is refused; other training sets, and a few new beginnings, are not."""
    held = {}
    for centre in range(approved.MOST_FITTED):
        for _ in range(3):
            approved.hold("mm_gradient", {}, {"centre": np.array([float(centre)])}, held)
    with pytest.raises(InputError, match="too many"):
        approved.hold("mm_block", {}, {"centre": np.array([99.0])}, held)
    approved.hold("mm_block", {"scheme": "patients", "set": 1}, {"centre": np.array([99.0])}, held)
    approved.hold("mm_scores", {}, {"centre": np.array([99.0])}, held)
    approved.hold("mm_moments", {}, {"centre": np.zeros(0)}, held)


@pytest.mark.parametrize(
    ("more", "view"),
    [
        ({}, "with:T1"),
        ({}, "stack"),
        ({"missing": "complete"}, "all"),
        ({"analysis": "late"}, "all"),
        ({"analysis": "late"}, "complete"),
        ({"missing": "impute"}, "stack"),
    ],
)
def test_views_that_the_run_does_not_need_are_refused(more, view):
    told, _, diz = study(**more)
    with pytest.raises(InputError, match="no view"):
        ask("mm_moments", diz, told, {"view": view})


def test_a_modality_is_taken_away_for_measuring_alone():
    told, _, diz = study()
    for query in ("mm_moments", "mm_block", "mm_gradient", "mm_cox", "mm_times", "mm_calibrate", "mm_combat"):
        with pytest.raises(InputError, match="does not need"):
            ask(query, diz, told, {"drop": ["T1"]})
    arrays = columns(coefficients=np.zeros((1 + F + 3, 1)))
    ask("mm_values", diz, told, {"split": "test", "drop": ["T1"]}, arrays)
    with pytest.raises(InputError, match="One modality"):
        ask("mm_values", diz, told, {"split": "test", "drop": ["T1", "genome"]}, arrays)
