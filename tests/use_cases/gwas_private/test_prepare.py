"""Data for virtual DIZ, and input that cannot be used."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from gwas_private import prepare
from gwas_private.__main__ import main

from tests.use_cases.gwas_private.conftest import NAMES, STUDY


def test_everybody_is_at_one_diz(tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert main(["prepare", "--out", str(out), "--patients", "400", "--nodes", "3"]) == 0
    stamp = json.loads((out / "prepared.json").read_text())
    stores = [pd.read_parquet(file) for file in sorted(out.glob("DIZ-*/candidates/patients.parquet"))]
    seen = [p for table in stores for p in table["patient_id"]]
    assert len(set(seen)) == len(seen) == 400
    assert all(patient.startswith("SYNTHETIC") for patient in seen)
    assert stamp["synthetic"] is True
    assert [len(store) for store in stores] == list(stamp["patients"].values())


def test_synthetic_patients_have_the_stated_effects() -> None:
    """40,000 patients, all variants in one regression: none is off by six standard errors."""
    table, truth = prepare.synthetic(STUDY, 40_000, 5, 11)
    complete = table.dropna()
    x = np.column_stack([np.ones(len(complete)), complete[NAMES]])
    y = complete["trait"].to_numpy()
    beta, *_ = np.linalg.lstsq(x, y, rcond=None)
    error = np.sqrt(np.var(y - x @ beta) * np.diag(np.linalg.inv(x.T @ x)))
    assert (np.abs(beta[1:] - np.array(list(truth.values()))) < 6 * error[1:]).all()
    assert sum(b != 0 for b in truth.values()) == len(prepare.TRUE_EFFECTS)
    assert 0.005 < table[NAMES].isna().to_numpy().mean() < 0.015


def own_table() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    table = pd.DataFrame(rng.integers(0, 3, (60, len(NAMES))).astype(float), columns=NAMES)
    table.insert(0, "patient_id", [f"P{row:03d}" for row in range(60)])
    table.insert(1, "trait", rng.normal(140, 20, 60))
    return table


def test_own_tables_are_dealt_out(tmp_path: Path) -> None:
    own_table().assign(SNP01=np.nan).to_csv(tmp_path / "mine.csv", index=False)
    out = tmp_path / "data"
    assert main(["prepare", "--own", str(tmp_path / "mine.csv"), "--out", str(out), "--nodes", "3"]) == 0
    stamp = json.loads((out / "prepared.json").read_text())
    assert (stamp["synthetic"], stamp["true_effects"], sum(stamp["patients"].values())) == (False, None, 60)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns="SNP07"), "lacks 1 columns, the first is 'SNP07'"),
        (lambda t: t.assign(SNP01=-9.0), "outside 0 to 2"),
        (lambda t: t.assign(SNP01="A G"), "60 values that are no numbers"),
        (lambda t: t.assign(trait=1.0), "does not vary"),
        (lambda t: t.assign(patient_id=None), "without patient_id"),
        (lambda t: t.assign(patient_id="P001"), "several rows"),
        (lambda t: t.head(2), "too few"),
    ],
    ids=["no variant", "minus nine", "letters", "constant", "no patient", "twice", "two patients"],
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
