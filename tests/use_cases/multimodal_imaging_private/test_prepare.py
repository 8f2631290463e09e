"""Data for virtual DIZ, and input that cannot be used."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from multimodal_imaging_private.__main__ import main
from multimodal_imaging_private.volumes import names

from tests.use_cases.multimodal_imaging_private.test_volumes import ball, saved


def test_everybody_is_at_one_diz_or_held_out(tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert main(["prepare", "--out", str(out), "--patients", "200", "--nodes", "3"]) == 0
    stamp = json.loads((out / "prepared.json").read_text())
    stores = [pd.read_parquet(file) for file in sorted(out.glob("DIZ-*/scans/patients.parquet"))]
    voxels = [pd.read_parquet(file) for file in sorted(out.glob("DIZ-*/scans/voxels.parquet"))]
    held = pd.read_parquet(out / "held-out.parquet")
    seen = [p for table in [*stores, held] for p in table["patient_id"]]
    assert len(set(seen)) == len(seen) == 200
    assert all(patient.startswith("SYNTHETIC") for patient in seen)
    assert [len(store) for store in stores] == list(stamp["patients"].values())
    for store, own in zip(stores, voxels, strict=True):
        assert list(own["patient_id"]) == list(store["patient_id"])
        assert list(own.columns[1:]) == names()


def own_table(tmp_path: Path) -> pd.DataFrame:
    saved(tmp_path, ball())
    ages = np.random.default_rng(1).uniform(20, 90, 30)
    return pd.DataFrame(
        {"patient_id": [f"P{row:03d}" for row in range(30)], "age": ages, "path": ["PATIENT-NAME.nii.gz"] * 30}
    )


def test_own_images(tmp_path: Path) -> None:
    own_table(tmp_path).to_csv(tmp_path / "mine.csv", index=False)
    out = tmp_path / "data"
    assert main(["prepare", "--own", str(tmp_path / "mine.csv"), "--out", str(out), "--nodes", "2"]) == 0
    stamp = json.loads((out / "prepared.json").read_text())
    assert (stamp["synthetic"], sum(stamp["patients"].values()) + stamp["held_out"]) == (False, 30)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns="age"), "lacks the columns age"),
        (lambda t: t.assign(age=150), "not between 0 and 120"),
        (lambda t: t.assign(age="old"), "not between 0 and 120"),
        (lambda t: t.assign(patient_id="P001"), "one row for each patient"),
        (lambda t: t.assign(path=None), "a path in each row"),
        (lambda t: t.assign(path="P007.nii.gz"), "row 1: an image cannot be read"),
        (lambda t: t.head(2), "too few"),
    ],
    ids=["no age", "too old", "words", "twice", "no path", "no file", "two patients"],
)
def test_bad_tables_are_one_sentence(change, sentence: str, tmp_path: Path, capsys) -> None:
    change(own_table(tmp_path)).to_csv(tmp_path / "mine.csv", index=False)
    assert main(["prepare", "--own", str(tmp_path / "mine.csv"), "--out", str(tmp_path / "x"), "--nodes", "2"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert "P00" not in said
    assert "PATIENT" not in said


def test_other_bad_calls(tmp_path: Path, capsys) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for arguments, sentence in (
        (["prepare", "--out", str(tmp_path)], "did not write"),
        (["prepare", "--out", str(tmp_path / "x"), "--nodes", "0"], "nobody to deal out"),
        (["prepare", "--out", str(tmp_path / "x"), "--own", str(tmp_path / "none.csv")], "cannot be read"),
        (["compare", "--run", str(tmp_path), "--data", str(tmp_path)], "not written by `prepare`"),
    ):
        assert main(arguments) == 2
        assert sentence in capsys.readouterr().err
