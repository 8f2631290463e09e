"""Data for virtual DIZ, and input that cannot be used."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gene_expression_private import prepare
from gene_expression_private.__main__ import main

from tests.use_cases.gene_expression_private.conftest import GENES


def test_everybody_is_at_one_diz_or_held_out(tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert main(["prepare", "--out", str(out), "--patients", "400", "--nodes", "3"]) == 0
    stamp = json.loads((out / "prepared.json").read_text())
    stores = [pd.read_parquet(file) for file in sorted(out.glob("DIZ-*/expression/patients.parquet"))]
    seen = [p for table in [*stores, pd.read_parquet(out / "held-out.parquet")] for p in table["patient_id"]]
    assert len(set(seen)) == len(seen) == 400
    assert all(patient.startswith("SYNTHETIC") for patient in seen)
    assert stamp["synthetic"] is True
    assert [len(store) for store in stores] == list(stamp["patients"].values())
    for store in stores:
        assert ((store["group"] == "case") == (store["case"] == 1)).all()


def test_synthetic_patients_have_the_stated_changes() -> None:
    """20,000 patients: a mean's difference has a standard error below 0.02, and none is off by eight of them."""
    table, truth = prepare.synthetic(GENES, 20_000, 5, 11)
    means = table.groupby("group")[[gene.name for gene in GENES]].mean()
    off = means.loc["case"] - means.loc["control"] - pd.Series(truth)
    assert off.abs().max() < 0.16
    assert sorted(c for c in truth.values() if c) == sorted(prepare.TRUE_CHANGES)


def own_table() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    table = pd.DataFrame(rng.normal(8, 1, (60, len(GENES))), columns=[gene.name for gene in GENES])
    table.insert(0, "patient_id", [f"P{row // 2:03d}" for row in range(60)])
    table.insert(1, "group", np.where(rng.random(60) < 0.5, "case", "control"))
    return table


def test_own_tables_keep_a_patients_records_together(tmp_path: Path) -> None:
    own_table().to_csv(tmp_path / "mine.csv", index=False)
    arguments = ["prepare", "--own", str(tmp_path / "mine.csv"), "--nodes", "2", "--out", str(tmp_path / "data")]
    assert main(arguments) == 0
    stores = [pd.read_parquet(file) for file in sorted((tmp_path / "data").glob("DIZ-*/expression/*.parquet"))]
    held = pd.read_parquet(tmp_path / "data" / "held-out.parquet")
    people = [set(table["patient_id"]) for table in [*stores, held]]
    assert sum(map(len, people)) == len(set().union(*people)) == 30
    assert json.loads((tmp_path / "data" / "prepared.json").read_text())["synthetic"] is False


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns="GENE07"), "lacks 1 columns, the first is 'GENE07'"),
        (lambda t: t.assign(group="ill"), "groups other than control and case"),
        (lambda t: t.assign(GENE01=1234.0), "look like counts"),
        (lambda t: t.assign(GENE01=np.nan), "60 values that are missing"),
        (lambda t: t.assign(patient_id=None), "without patient_id"),
        (lambda t: t.head(1), "too few"),
    ],
    ids=["no gene", "group", "counts", "missing", "no patient", "one patient"],
)
def test_bad_tables_are_one_sentence(change, sentence: str, tmp_path: Path, capsys) -> None:
    change(own_table()).to_csv(tmp_path / "mine.csv", index=False)
    assert main(["prepare", "--own", str(tmp_path / "mine.csv"), "--out", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert "P00" not in said


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
