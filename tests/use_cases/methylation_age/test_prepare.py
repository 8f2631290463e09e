"""Tables to DIZ folders: complete or not at all, the same again, never over something else."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from methylation_age import prepare
from methylation_age.errors import InputError
from methylation_age.split import split_by_age

Tables = tuple[Path, Path]


def test_sites_of_own_data_become_diz(data: Path, tables: Tables) -> None:
    """Every sample lies at the DIZ of its hospital, with the betas it had."""
    sheet, betas = pd.read_csv(tables[1]), pd.read_csv(tables[0], index_col=0)
    for number in range(3):
        store = data / f"DIZ-{number + 1}" / "methylation"
        samples, written = pd.read_parquet(store / "samples.parquet"), pd.read_parquet(store / "betas.parquet")
        assert set(samples["sample_id"]) == set(sheet.loc[sheet["hospital"] == f"H{number}", "sample_id"])
        columns = written.columns.drop("sample_id")
        np.testing.assert_array_equal(written[columns], betas.loc[written["sample_id"], columns])


def test_a_second_call_writes_nothing(data: Path, tables: Tables) -> None:
    """The same arguments and files: the folder stays as it is."""
    before = {file: file.stat().st_mtime_ns for file in data.rglob("*")}
    prepare.prepare_own(data, *tables, site_column="hospital", nodes=5, seed=0)
    assert {file: file.stat().st_mtime_ns for file in data.rglob("*")} == before


def test_other_arguments_replace_the_whole(data: Path, no_site: Tables) -> None:
    """What an earlier call wrote does not linger beside the new."""
    prepare.prepare_own(data, *no_site, site_column=None, nodes=2, seed=0)
    assert sorted(path.name for path in data.iterdir()) == ["DIZ-1", "DIZ-2", "prepared.json"]
    assert [path.name for path in data.parent.glob(".data.*")] == []


def test_a_foreign_folder_is_left_alone(tmp_path: Path, no_site: Tables) -> None:
    """A folder that prepare did not write is refused and kept."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not written by prepare"):
        prepare.prepare_own(tmp_path / "mine", *no_site, site_column=None, nodes=3, seed=0)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_failure_leaves_nothing_behind(tmp_path: Path, no_site: Tables) -> None:
    """When a DIZ would stay empty, neither the folder nor a temporary one remains."""
    with pytest.raises(InputError, match="fewer nodes"):
        prepare.prepare_own(tmp_path / "out", *no_site, site_column=None, nodes=400, seed=0)
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out.*")) == []


def test_held_out_patients_are_a_fifth_and_whole() -> None:
    """Without a split column about one patient in five tests, with all their samples."""
    patients = pd.Series([f"P{row // 3}" for row in range(6000)])
    split = pd.Series(prepare.hold_out(patients))
    assert split.groupby(patients).nunique().max() == 1
    assert 0.15 < (split == "test").mean() < 0.25


def test_split_is_by_age_and_keeps_patients_together() -> None:
    """Later DIZ are older, nobody is at two, and the seed decides."""
    generator = np.random.default_rng(0)
    patients = pd.Series([f"P{row // 2:04d}" for row in range(2000)])
    age = pd.Series(np.repeat(generator.uniform(0, 90, 1000), 2))
    node = pd.Series(split_by_age(age, patients, 5, seed=0))
    medians = age.groupby(node).median()
    assert list(medians) == sorted(medians)
    assert medians.iloc[-1] - medians.iloc[0] > 30
    assert node.groupby(patients).nunique().max() == 1
    assert node.equals(pd.Series(split_by_age(age, patients, 5, seed=0)))
    assert not node.equals(pd.Series(split_by_age(age, patients, 5, seed=1)))


@pytest.mark.slow
def test_brain_set_is_whole(brain: Path) -> None:
    """472 training and 203 test samples of GSE74193 over five DIZ, each sample once."""
    stamp = json.loads((brain / "prepared.json").read_text())
    samples = pd.concat([pd.read_parquet(file) for file in brain.glob("*/methylation/samples.parquet")])
    assert samples["split"].value_counts().to_dict() == {"train": 472, "test": 203}
    assert samples["sample_id"].is_unique
    assert sum(facts["train"] for facts in stamp["nodes"].values()) == 472


@pytest.mark.slow
def test_blood_set_is_whole(packaged_data: None, tmp_path: Path) -> None:
    """8,085 blood samples with 71 CpGs."""
    prepare.prepare_packaged(tmp_path / "blood", "blood", nodes=3, seed=0)
    betas = pd.concat([pd.read_parquet(file) for file in (tmp_path / "blood").glob("*/methylation/betas.parquet")])
    assert betas.shape == (8085, 72)
