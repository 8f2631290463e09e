"""Phenotype and covariate files as PLINK reads them."""

import pytest
from gwas.errors import InputError
from gwas.tables import numbers, phenotype, read_header_table


@pytest.mark.parametrize("head", ["FID IID bmi", "#FID IID bmi", "IID bmi", "#IID bmi"])
def test_headers_of_plink_1_and_2(tmp_path, head):
    family = "F1 " if "FID" in head else ""
    (tmp_path / "x.txt").write_text(f"{head}\n{family}a 21.5\n{family}b   NA\n\n")
    assert read_header_table(tmp_path / "x.txt") == {"IID": ["a", "b"], "bmi": ["21.5", "NA"]}


def test_tabs_keep_empty_cells(tmp_path):
    (tmp_path / "x.txt").write_text("FID\tIID\tbmi\tage\nf\ta\t\t3\n")
    assert read_header_table(tmp_path / "x.txt") == {"IID": ["a"], "bmi": [""], "age": ["3"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b 1\n", "no header"),
        ("FID IID bmi bmi\nf a 1 2\n", "names a column twice"),
        ("FID IID bmi\nf a\n", "1 rows"),
        ("FID IID bmi\nf a 1\ng a 2\n", "1 rows about a sample"),
        ("", "no header"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(tmp_path, text, message):
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_header_table(tmp_path / "x.txt")


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_header_table(tmp_path / "x.txt")
    with pytest.raises(InputError, match="There is no file"):
        read_header_table(tmp_path / "y.txt")


@pytest.mark.parametrize("word", ["NA", "na", "nan", "NaN", "-9", "-9.0", ".", "", "inf"])
def test_missing_is_written_in_several_ways(word):
    assert numbers(["1.5", word]) == [1.5, None]


def test_words_are_no_numbers():
    assert numbers(["1", "tall"]) is None


@pytest.mark.parametrize(
    ("cells", "one", "values", "kind"),
    [
        (["1", "2", "0", "-9", "NA"], False, [1.0, 2.0, None, None, None], "disease"),
        (["0", "1", "NA"], True, [1.0, 2.0, None], "disease"),
        (["1.5", "-9", "0"], False, [1.5, None, 0.0], "trait"),
        (["1", "2", "3"], False, [1.0, 2.0, 3.0], "trait"),
    ],
)
def test_a_phenotype_is_a_disease_or_a_trait(cells, one, values, kind):
    assert phenotype("y", cells, one=one) == (values, kind)


@pytest.mark.parametrize(
    ("cells", "one", "message"),
    [
        (["0", "1"], False, "state --one"),
        (["1", "1", "NA"], False, "the same value in all samples"),
        (["2", "0"], False, "the same value in all samples"),
        (["NA", "-9"], False, "no value"),
        (["3.5", "3.5"], False, "the same value in all samples"),
        (["case", "control"], False, "holds words"),
        (["1", "2"], True, "leave --one out"),
    ],
)
def test_a_phenotype_that_cannot_be_tested_is_refused(cells, one, message):
    with pytest.raises(InputError, match=message):
        phenotype("y", cells, one=one)
