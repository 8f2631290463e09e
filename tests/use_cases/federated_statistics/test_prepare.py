"""`prepare`: complete or not at all, the same for the same arguments, and nothing foreign is touched."""

import json

import pandas as pd
import pytest
from federated_statistics import packaged
from federated_statistics.__main__ import main
from federated_statistics.errors import InputError
from federated_statistics.prepare import SITE, prepare_own, prepare_packaged, read_prepared


def test_every_row_lies_at_one_diz_and_values_are_the_measured_ones(tmp_path):
    stamp = prepare_packaged(tmp_path / "data", "gbsg2", 5, 0)

    rows, _ = read_prepared(tmp_path / "data")
    whole = packaged.load("gbsg2")
    assert [facts["rows"] for facts in stamp["nodes"].values()] == rows[SITE].value_counts(sort=False).tolist()
    assert rows["patient_id"].is_unique
    back = rows.sort_values("patient_id").drop(columns=["patient_id", SITE]).reset_index(drop=True)
    pd.testing.assert_frame_equal(back, whole, check_dtype=False)


def test_the_diz_differ_in_size_and_patients(tmp_path):
    prepare_packaged(tmp_path / "data", "gbsg2", 5, 0)

    rows, _ = read_prepared(tmp_path / "data")
    by_site = rows.groupby(SITE)["age"].agg(["size", "mean"])
    assert by_site["size"].max() > 1.5 * by_site["size"].min()
    assert by_site["mean"].max() - by_site["mean"].min() > rows["age"].std() / 2


def test_institutions_stay_together(tmp_path):
    prepare_packaged(tmp_path / "data", "lung", 5, 0)

    rows, _ = read_prepared(tmp_path / "data")
    assert packaged.INSTITUTION not in rows
    whole = packaged.load("lung")
    # a patient's number is its row in the set
    home = rows.set_index(rows["patient_id"].str[-5:].astype(int))[SITE]
    assert (whole.assign(home=home).groupby(packaged.INSTITUTION)["home"].nunique() == 1).all()


def test_the_same_arguments_give_the_same_folder_without_work(tmp_path):
    first = prepare_packaged(tmp_path / "data", "diabetes", 4, 3)
    file = tmp_path / "data" / "DIZ-2" / "cohort" / "table.parquet"
    before = file.stat().st_mtime_ns

    assert prepare_packaged(tmp_path / "data", "diabetes", 4, 3) == first
    assert file.stat().st_mtime_ns == before
    other = prepare_packaged(tmp_path / "data", "diabetes", 3, 3)
    assert list(other["nodes"]) == ["DIZ-1", "DIZ-2", "DIZ-3"]
    assert not (tmp_path / "data" / "DIZ-4").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_foreign_folder_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(InputError, match="another folder"):
        prepare_packaged(tmp_path, "diabetes", 4, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("name", "nodes"), [("diabetes", 0), ("diabetes", 40), ("lung", 100)])
def test_more_diz_than_rows_or_institutions_are_refused(tmp_path, name, nodes):
    with pytest.raises(InputError, match=r"DIZ|institutions"):
        prepare_packaged(tmp_path / "data", name, nodes, 0)
    assert not (tmp_path / "data").exists()


def test_an_own_table_is_cut_by_its_site_column(tmp_path):
    own = pd.DataFrame({"patient_id": ["a", "b", "c"], "hospital": ["Y", "X", "Y"], "age": [1.0, 2.0, None]})
    own.to_csv(tmp_path / "own.csv", index=False)

    stamp = prepare_own(tmp_path / "data", tmp_path / "own.csv", "hospital")

    rows, _ = read_prepared(tmp_path / "data")
    assert [facts["rows"] for facts in stamp["nodes"].values()] == [1, 2]
    assert rows["patient_id"].tolist() == ["b", "a", "c"]
    assert "hospital" not in rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("age,hospital\n1,X\n", "patient_id"),
        ("patient_id,age\na,1\n", "hospital"),
        ("patient_id,hospital\na,\n", "1 rows"),
        ("", "cannot be read"),
    ],
)
def test_an_own_table_that_cannot_be_cut_is_refused(tmp_path, text, words):
    (tmp_path / "own.csv").write_text(text)

    with pytest.raises(InputError, match=words):
        prepare_own(tmp_path / "data", tmp_path / "own.csv", "hospital")
    assert not (tmp_path / "data").exists()


def test_the_command_line_says_what_was_written(tmp_path, capsys):
    arguments = ["prepare", "--out", str(tmp_path / "data"), "--nodes", "4", "--seed", "1"]

    assert main(arguments) == 0

    assert capsys.readouterr().out.count("rows") == 4
    assert json.loads((tmp_path / "data" / "prepared.json").read_text())["source"]["set"] == "breast-cancer"
    assert main(["prepare", "--out", str(tmp_path / "x"), "--own", "nowhere.csv"]) == 2
    assert "go together" in capsys.readouterr().err
