"""A DIZ's stores become a `Site`: who has what, features in declared order, links that hold, sums that count."""

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multimodal_imaging import counts_site, layout, linkage
from multimodal_imaging.errors import InputError
from multimodal_imaging.image_checks import REASONS
from multimodal_imaging.panel import load_panel
from multimodal_imaging.site import Request, group_of
from multimodal_imaging.store import load_site, score

from tests.use_cases.multimodal_imaging import made


@pytest.fixture
def copy(stores, tmp_path):
    """One DIZ's stores, which may be changed: copy(number) gives the two folders."""

    def get(number: int):
        folder = tmp_path / f"DIZ-{number}"
        shutil.copytree(stores / f"DIZ-{number}", folder)
        return folder / "patients", folder / "images"

    return get


def load(stores, number, **overrides):
    folder = stores / f"DIZ-{number}"
    images = folder / "images"
    return load_site(folder / "patients", images if images.exists() else None, made.settings(**overrides), node=number)


def change(file, edit):
    """Read a table, edit it, write it."""
    edit(pd.read_parquet(file)).to_parquet(file, index=False)


def test_every_diz_has_the_same_features_whatever_it_lacks(stores):
    sites = {number: load(stores, number) for number in range(1, 6)}
    expected = layout.features(made.settings())
    for site in sites.values():
        assert {name: block.features for name, block in site.blocks.items()} == expected
        for block in site.blocks.values():
            assert block.values.shape == (site.rows, len(block.features))
            assert not np.isfinite(block.values[~block.there]).any()
    assert {n: s.blocks["T1"].there.any() for n, s in sites.items()} == {1: True, 2: True, 3: True, 4: False, 5: False}
    assert not sites[2].blocks["genome"].there.any()
    assert sites[1].blocks["genome"].there.sum() == sites[1].rows - 2
    assert (sites[1].node, sites[1].train.sum()) == (1, 18)


def test_pixels_are_there_for_whom_an_image_is_and_0_for_others(stores):
    site = load(stores, 1)
    block = site.blocks["T1"]
    rows = np.arange(site.rows)
    pixels = block.pixels(rows)
    assert pixels.shape == (site.rows, 1, *made.GRID)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels.any(axis=(1, 2, 3, 4)), block.there)
    np.testing.assert_array_equal(block.pixels(rows[::-1][:3]), pixels[::-1][:3])
    assert load(stores, 4).blocks["T1"].pixels(np.array([0, 1])).shape == (2, 1, *made.GRID)


def test_images_that_there_is_no_room_for_are_read_again(stores, monkeypatch):
    whole = load(stores, 1).blocks["T1"].pixels(np.arange(20))
    monkeypatch.setattr("multimodal_imaging.image_store._MOST_KEPT", 5 * whole[0].nbytes)
    again = load(stores, 1, seed=7)  # other settings, so that it is read anew
    np.testing.assert_array_equal(again.blocks["T1"].pixels(np.arange(20)), whole)


def test_the_phenome_has_a_column_for_each_level_but_the_reference_and_keeps_what_is_missing(stores):
    site = load(stores, 1)
    block = site.blocks["phenome"]
    assert block.features == ("sbp", "sex[male]", "smoking[former]", "smoking[current]")
    sheet = pd.read_parquet(stores / "DIZ-1" / "patients" / "patients.parquet")
    assert sheet["smoking"].isna().any()
    np.testing.assert_array_equal(np.isnan(block.values[:, 2]), sheet["smoking"].isna())
    np.testing.assert_array_equal(block.values[:, 1], sheet["sex"] == "male")
    np.testing.assert_array_equal(block.values[:, 0], sheet["sbp"])


def test_a_score_is_the_mean_of_weight_times_dosage_over_what_was_typed(stores):
    block = load_panel("brain").blocks["genome"]
    dosages = pd.read_parquet(stores / "DIZ-1" / "patients" / "features.parquet").set_index("patient_id")
    site = load(stores, 1)
    expected = dosages.to_numpy() @ np.array(block.weights) / len(block.weights)
    np.testing.assert_allclose(site.blocks["genome"].values[: len(expected), 0], expected, rtol=1e-12)
    some = dosages.to_numpy().copy()
    some[0, :140], some[1, :160] = np.nan, np.nan
    found = score(some, block, "brain")
    np.testing.assert_allclose(found[0, 0], some[0, 140:] @ np.array(block.weights)[140:] / 160)
    assert np.isnan(found[1, 0])
    assert load(stores, 1, genome="dosages").blocks["genome"].values.shape == (site.rows, 300)
    with pytest.raises(InputError, match="no weights"):
        score(some, replace(block, weights=()), "brain")


def test_a_patient_in_two_splits_or_with_two_rows_is_an_error_without_the_id(copy):
    patients, images = copy(1)
    change(patients / "patients.parquet", lambda t: pd.concat([t, t[:2].assign(split="test")]))
    with pytest.raises(InputError, match=r"^2 patients are in train and in test") as caught:
        load_site(patients, images, made.settings())
    assert "N1P" not in str(caught.value)
    change(patients / "patients.parquet", lambda t: t.assign(split="train"))
    with pytest.raises(InputError, match=r"^2 patients have several rows"):
        load_site(patients, images, made.settings())


def test_features_of_somebody_else_and_other_splits_are_errors(copy):
    patients, images = copy(1)
    change(patients / "features.parquet", lambda t: t.assign(patient_id=[*t["patient_id"][:-1], "Doe"]))
    with pytest.raises(InputError, match=r"^1 patient of features.parquet is not in the patients' table") as caught:
        load_site(patients, images, made.settings())
    assert "Doe" not in str(caught.value)
    change(patients / "patients.parquet", lambda t: t.assign(split="validation"))
    with pytest.raises(InputError, match="24 patients have a split other than"):
        load_site(patients, images, made.settings())


def test_images_that_cannot_be_used_count_as_not_there_and_for_their_reason(copy):
    patients, images = copy(1)
    rows = pd.read_parquet(images / "manifest.parquet")
    (images / rows["path"][0]).write_bytes(b"broken")
    made.nifti(images / rows["path"][1], np.full(made.GRID, 3, np.int16))
    more = rows[2:4].assign(image_id=["A", "B"], path=["images/a.nii.gz", "images/b.nii.gz"])
    more["patient_id"] = [rows["patient_id"][2], "nobody"]
    for name in more["path"]:
        made.nifti(images / name, made.head())
    pd.concat([rows, more]).to_parquet(images / "manifest.parquet", index=False)

    site = load_site(patients, images, made.settings())

    assert site.problems == {"unreadable": 1, "constant": 1, "repeated": 1, "unknown": 1}
    assert site.blocks["T1"].there.sum() == len(rows) - 3
    sums = counts_site.mm_counts(site, Request(made.settings()))
    counted = dict(zip(REASONS, sums["problems"].tolist(), strict=True))
    assert {reason: count for reason, count in counted.items() if count} == site.problems


def test_images_none_of_which_belongs_to_a_patient_are_an_error(copy):
    patients, images = copy(1)
    change(images / "manifest.parquet", lambda t: t.assign(patient_id=[f"X{row}" for row in range(len(t))]))
    with pytest.raises(InputError, match=r"None of .* images belongs to a patient"):
        load_site(patients, images, made.settings())


def test_missing_files_and_columns_say_what_to_do(copy):
    patients, images = copy(1)
    change(patients / "patients.parquet", lambda t: t.drop(columns="sbp"))
    with pytest.raises(InputError, match="no numbers in 'sbp'"):
        load_site(patients, images, made.settings())
    with pytest.raises(InputError, match="no block 'proteins'"):
        load_site(patients, images, made.settings(modalities="proteins, T1", phenome=""))
    (images / "manifest.parquet").unlink()
    with pytest.raises(InputError, match=r"no manifest.parquet; write it with"):
        load_site(patients, images, made.settings())
    (patients / "patients.parquet").unlink()
    with pytest.raises(InputError, match=r"no patients.parquet"):
        load_site(patients, None, made.settings())


def test_a_column_that_a_diz_left_empty_is_missing_throughout(copy):
    patients, images = copy(1)
    change(patients / "patients.parquet", lambda t: t.assign(sbp=None, smoking=None))
    block = load_site(patients, images, made.settings()).blocks["phenome"]
    assert np.isnan(block.values[:, [0, 2, 3]]).all()
    assert block.there.all()  # their sex is known


def test_counts_are_those_of_the_patients(stores):
    told = made.settings()
    total: Counter[str] = Counter()
    for number in range(1, 6):
        site = load(stores, number)
        sums = counts_site.mm_counts(site, Request(told))
        for place, block in enumerate(site.blocks.values()):
            assert sums["modality"][place].tolist() == [
                (block.there & site.train).sum(),
                (block.there & ~site.train).sum(),
            ]
        assert sums["complete"].sum() == site.complete.sum()
        assert sums["outcome"].tolist() == sums["patients"].tolist() == [18, 6]
        total.update(dict(zip(told.modalities, sums["sites"].tolist(), strict=True)))
    assert total == {"genome": 4, "phenome": 5, "T1": 3}


def test_folds_are_of_patients_and_depend_on_the_seed(stores):
    site = load(stores, 1)
    folds = site.fold(5, 0)
    assert set(folds.tolist()) <= set(range(5))
    assert len(set(folds.tolist())) > 2
    np.testing.assert_array_equal(folds[3:8], replace(site, patients=site.patients[3:8]).fold(5, 0))
    assert (folds != site.fold(5, 1)).any()


@pytest.mark.parametrize(
    ("nodes", "groups", "words"),
    [
        (["1", "2", "3"], [0, 0, 1], "at least 2"),
        (["1", "2", "3", "4"], [0, 0, 0, 0], "2 groups of DIZ with at least 2"),
        (["1", "2", "3", "4"], [0, 0, 2, 2], "2 groups"),
        (["1", "1", "3", "4"], [0, 0, 1, 1], "name each once"),
        (["7", "2", "3", "4"], [0, 0, 1, 1], "in none of the groups"),
        (["1", "2", "3"], [0, 0, 1, 1], "name each once"),
        ([], [], "at least 2"),
    ],
)
def test_groups_of_diz_that_would_be_one_diz_are_refused(nodes, groups, words):
    site = made.site(1, 12)
    asked = Request(made.settings(validation="sites"), {"nodes": nodes, "groups": groups})
    with pytest.raises(InputError, match=words):
        group_of(site, asked)


def test_groups_need_an_approval():
    content = {"nodes": ["1", "2", "3", "4", "5"], "groups": [0, 1, 0, 1, 0]}
    site = made.site(2, 12)
    assert group_of(site, Request(made.settings(validation="sites"), content)) == 1
    with pytest.raises(InputError, match="not approved"):
        group_of(site, Request(made.settings(), content))


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["train", "test"])), max_size=8))
def test_links_hold_exactly_if_each_patient_has_one_row(rows):
    ids, splits = [row[0] for row in rows], [row[1] for row in rows]
    if len(set(ids)) == len(ids):
        linkage.check_patients(ids, splits)
        return
    leaking = {i for i, _ in rows if len({s for j, s in rows if j == i}) > 1}
    with pytest.raises(InputError, match=f"^{len(leaking)} patients? (is|are) in" if leaking else "several rows"):
        linkage.check_patients(ids, splits)
