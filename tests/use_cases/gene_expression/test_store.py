"""Reading a data store, and how levels are declared."""

import os

import numpy as np
import pandas as pd
import pytest
from gene_expression import store
from gene_expression.errors import InputError
from gene_expression.panel import Panel
from gene_expression.store import load_table, parse_levels

GENES = ("ENSG00000000003", "ENSG00000000005", "ENSG00000000419", "ENSG00000000457")
SAMPLES = pd.DataFrame(
    {
        "sample_id": ["s1", "s2", "s3"],
        "patient_id": ["a", "b", "b"],
        "age": [50.0, np.nan, np.inf],
        "treated": [True, False, None],
        "stage": ["I", "III", "IV"],
        "grade": [1, 2, 3],
        "note": ["x", "y", "z"],
    }
)
VALUES = pd.DataFrame(
    {
        "sample_id": ["s3", "s1", "s2", "s9"],
        GENES[2] + ".7": [7.0, 5.0, 6.0, 1.0],
        GENES[0]: [3.0, 1.0, np.inf, 1.0],
        "unlisted": [0.0, 0.0, 0.0, 0.0],
        GENES[3]: [9.5, np.nan, 8.5, 1.0],
    }
)
LEVELS = "stage=I|II|III; grade=1|2"


@pytest.fixture(autouse=True)
def panel(monkeypatch):
    monkeypatch.setattr(store, "load_panel", lambda name: Panel(name, "t", "o", "ensembl", GENES))


@pytest.fixture
def write(tmp_path):
    def go(samples=SAMPLES, values=VALUES):
        samples.to_parquet(tmp_path / "samples.parquet", index=False)
        values.to_parquet(tmp_path / "expression.parquet", index=False)
        return tmp_path

    return go


def read(folder, **more):
    return load_table(folder, "small", **{"scale": "log2", "levels": LEVELS, **more})


def test_genes_are_in_the_panel_s_order_and_versions_are_ignored(write):
    table = read(write(), node=7)

    expected = [[1.0, np.nan, 5.0, np.nan], [np.nan, np.nan, 6.0, 8.5], [3.0, np.nan, 7.0, 9.5]]
    np.testing.assert_array_equal(table.genes, expected)  # the second was not measured, infinite is missing
    assert table.genes.flags.c_contiguous
    assert (table.panel, table.patients, table.node, table.rows) == (GENES, ("a", "b", "b"), 7, 3)


def test_only_listed_samples_are_read(write):
    """A view without a patient: expression that is still there stays unread."""
    table = read(write(samples=SAMPLES[SAMPLES["patient_id"] == "b"]))

    assert table.patients == ("b", "b")
    np.testing.assert_array_equal(table.genes[:, 2], [6.0, 7.0])


def test_columns_become_numbers_or_codes_of_declared_levels(write):
    table = read(write())

    assert set(table.numbers) == {"age", "treated", "grade"}
    np.testing.assert_array_equal(table.number("age"), [50.0, np.nan, np.nan])
    np.testing.assert_array_equal(table.number("treated"), [1.0, 0.0, np.nan])
    assert {name: code.tolist() for name, code in table.codes.items()} == {
        "stage": [0, 2, -1],
        "grade": [0, 1, -1],
        "split": [0, 0, 0],
    }
    assert table.levels["split"] == ("train", "test")
    with pytest.raises(InputError, match="note"):
        table.code("note")
    with pytest.raises(InputError, match="note"):
        table.number("note")


def test_a_split_is_read_and_checked(write):
    assert read(write(SAMPLES.assign(split=["train", "test", "test"]))).code("split").tolist() == [0, 1, 1]
    with pytest.raises(InputError, match="1 samples have a split"):
        read(write(SAMPLES.assign(split=["train", "test", "dev"])))


def test_negative_counts_are_no_counts(write):
    folder = write(values=VALUES.assign(**{GENES[0]: [1.0, -2.0, 3.0, 1.0]}))

    with pytest.raises(InputError, match="negative counts"):
        read(folder, scale="counts")
    assert read(folder).genes[0, 0] == -2.0


def test_a_changed_store_is_read_again(write):
    assert read(write()).rows == 3
    folder = write(samples=SAMPLES.iloc[:1])
    os.utime(folder / "samples.parquet", ns=(1, 1))
    assert read(folder).rows == 1


@pytest.mark.parametrize(
    ("samples", "values", "words"),
    [
        (SAMPLES.drop(columns="patient_id"), VALUES, "lacks the column 'patient_id'"),
        (SAMPLES, VALUES.drop(columns="sample_id"), "lacks the column 'sample_id'"),
        (SAMPLES, VALUES[["sample_id", "unlisted"]], "no gene of the panel"),
        (SAMPLES, VALUES.iloc[1:], "1 samples of samples.parquet are not in"),
        (SAMPLES, VALUES.assign(**{GENES[2]: 0.0}), "a gene twice"),
    ],
)
def test_what_is_missing_is_named_and_no_sample_is(write, samples, values, words):
    with pytest.raises(InputError, match=words) as refused:
        read(write(samples, values))
    assert not {"s1", "s2", "s3"} & set(str(refused.value).split())


def test_a_store_without_files_and_another_scale_are_named(tmp_path, write):
    with pytest.raises(InputError, match=r"no samples\.parquet"):
        read(tmp_path)
    with pytest.raises(InputError, match="'scale'"):
        read(write(), scale="tpm")


def test_levels_are_read_in_order():
    assert parse_levels(" a = x | y ;b=1|2|3; ") == {"a": ("x", "y"), "b": ("1", "2", "3")}
    assert parse_levels("") == {}


@pytest.mark.parametrize("text", ["a", "a=x", "a=x|x", "=x|y", "a=x|", "a=x|y;a=x|z"])
def test_levels_of_another_form_are_refused(text):
    with pytest.raises(InputError, match="column=level"):
        parse_levels(text)
