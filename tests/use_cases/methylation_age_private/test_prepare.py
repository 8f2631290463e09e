"""Data for virtual DIZ, and input that cannot be used."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from methylation_age_private import mean_betas, prepare
from methylation_age_private.__main__ import main
from methylation_age_private.clock import inverse
from methylation_age_private.errors import InputError

FIRST = next(iter(mean_betas()))


def test_everybody_is_at_one_diz_or_held_out(made_up, tmp_path: Path) -> None:
    stamp = prepare.write(made_up, tmp_path / "data", 3, 1)
    stores = [pd.read_parquet(file) for file in sorted((tmp_path / "data").glob("DIZ-*/methylation/samples.parquet"))]
    held = pd.read_parquet(tmp_path / "data" / "held-out.parquet")
    seen = [patient for table in [*stores, held] for patient in table["patient_id"]]
    assert sorted(seen) == sorted(made_up["patient_id"])
    assert [len(store) for store in stores] == list(stamp["patients"].values())
    assert max(map(len, stores)) - min(map(len, stores)) <= 1
    ages = [inverse(store["age_transformed"]) for store in stores]
    assert ages[0].mean() < ages[-1].mean() - 10  # the DIZ differ
    known = made_up.set_index("patient_id")["age"]
    for store, age in zip(stores, ages, strict=True):
        assert age == pytest.approx(known[store["patient_id"]].to_numpy())
        assert "age" not in store


def test_the_packaged_set_is_whole(blood) -> None:
    assert blood.shape == (8085, 73)
    assert prepare.held_out(blood["patient_id"]).sum() == 1634  # the same patients as methylation-age holds out


def test_own_tables(made_up, tmp_path: Path) -> None:
    made_up.to_csv(tmp_path / "mine.csv", index=False)
    made_up.to_parquet(tmp_path / "mine.parquet", index=False)
    read = [prepare.own(tmp_path / name) for name in ("mine.csv", "mine.parquet")]
    for table in read:
        assert np.allclose(table.drop(columns="patient_id"), made_up.drop(columns="patient_id"))
    out = tmp_path / "data"
    assert main(["prepare", "--out", str(out), "--own", str(tmp_path / "mine.csv"), "--nodes", "3"]) == 0
    assert len(json.loads((out / "prepared.json").read_text())["patients"]) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns=FIRST), f"lacks 1 columns, the first is '{FIRST}'"),
        (lambda t: t.assign(**{FIRST: 7.0}), "outside"),
        (lambda t: t.assign(age=-2.0), "outside -1 to 120"),
        (lambda t: t.assign(age=np.nan), "missing"),
        (lambda t: t.assign(patient_id=None), "without patient_id"),
        (lambda t: t.assign(**dict.fromkeys(list(mean_betas())[:10], np.nan)), "tenth"),
        (lambda t: t.head(1), "cannot be dealt out"),
    ],
    ids=["no column", "percent", "age", "no age", "no patient", "no betas", "one patient"],
)
def test_bad_tables_are_one_sentence(change, sentence: str, made_up, tmp_path: Path, capsys) -> None:
    change(made_up).to_csv(tmp_path / "mine.csv", index=False)
    arguments = ["prepare", "--out", str(tmp_path / "x"), "--own", str(tmp_path / "mine.csv")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert "P00" not in said
    with pytest.raises(InputError):
        main([*arguments, "--debug"])


def test_folders_of_others_are_left_alone(made_up, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="did not write"):
        prepare.write(made_up, tmp_path / "mine", 3, 1)
    assert main(["prepare", "--out", str(tmp_path / "x"), "--own", str(tmp_path / "none.csv")]) == 2
    assert main(["compare", "--run", str(tmp_path), "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "cannot be read" in said
    assert "finished run" in said
