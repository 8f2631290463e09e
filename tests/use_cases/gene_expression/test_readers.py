"""Own files into samples x genes: every format and orientation gives the same."""

import builtins

import anndata
import numpy as np
import pandas as pd
import pytest
from gene_expression.errors import InputError
from gene_expression.readers import read_own
from scipy import sparse

IDS = [f"{number:03d}" for number in range(1, 5)]  # text that looks like numbers
GENES = ["TP53", "EGFR", "MYC"]
VALUES = pd.DataFrame(np.arange(12.0).reshape(4, 3) ** 2, index=pd.Index(IDS, name="sample_id"), columns=GENES)
SHEET = pd.DataFrame({"sample_id": IDS, "patient_id": ["07", "07", "08", "09"], "age": [50, 50, 61, 72]})


@pytest.fixture
def sheet(tmp_path):
    SHEET.to_csv(tmp_path / "samples.csv", index=False)
    return tmp_path / "samples.csv"


def csv(frame, file):
    frame.to_csv(file)


def tsv(frame, file):
    frame.to_csv(file, sep="\t")


def of_r(frame, file):
    """As R's write.table writes it: the corner is missing."""
    text = frame.to_csv(sep="\t")
    file.write_text(text[text.index("\t") + 1 :])


def parquet(frame, file):
    frame.rename_axis(None, axis=1).reset_index().rename(columns=str).to_parquet(file, index=False)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("name", "write"),
    [("v.csv", csv), ("v.tsv", tsv), ("v.tsv.gz", tsv), ("v.txt", of_r), ("v.parquet", parquet)],
)
def test_formats_and_orientations_give_the_same(tmp_path, sheet, name, write, turned):
    write(VALUES.T.rename_axis("gene") if turned else VALUES, tmp_path / name)

    values, samples = read_own(tmp_path / name, sheet)

    pd.testing.assert_frame_equal(values.loc[IDS, GENES], VALUES, check_dtype=False, check_names=False)
    assert samples["patient_id"].tolist() == ["07", "07", "08", "09"]


def write_h5ad(file):
    # as objects: this version of anndata does not write pandas' own strings
    obs = pd.DataFrame({"age": SHEET["age"].to_numpy()}, index=pd.Index(IDS, dtype=object))
    obs["patient_id"] = pd.Categorical.from_codes([0, 0, 1, 2], pd.Index(["07", "08", "09"], dtype=object))
    obs["group"] = pd.Categorical.from_codes([0, 1, 0, 1], pd.Index(["a", "b"], dtype=object))
    var = pd.DataFrame(index=pd.Index(GENES, dtype=object))
    data = anndata.AnnData(sparse.csr_matrix(VALUES.to_numpy()), obs=obs, var=var)
    data.layers["log"] = np.log2(VALUES.to_numpy() + 1)
    data.write_h5ad(file, convert_strings_to_categoricals=False)


def test_annotated_data_bring_their_own_sheet(tmp_path):
    write_h5ad(tmp_path / "v.h5ad")

    values, samples = read_own(tmp_path / "v.h5ad", None)
    logs, _ = read_own(tmp_path / "v.h5ad", None, "log")

    pd.testing.assert_frame_equal(values, VALUES, check_names=False)
    np.testing.assert_array_equal(logs.to_numpy(), np.log2(VALUES.to_numpy() + 1))
    assert samples["sample_id"].tolist() == IDS
    assert samples["group"].tolist() == ["a", "b", "a", "b"]


def test_a_sheet_beside_annotated_data_wins(tmp_path, sheet):
    write_h5ad(tmp_path / "v.h5ad")

    assert "group" not in read_own(tmp_path / "v.h5ad", sheet)[1]


def test_annotated_data_that_cannot_be_used_are_named(tmp_path, sheet, monkeypatch):
    write_h5ad(tmp_path / "v.h5ad")
    with pytest.raises(InputError, match=r"no layer 'counts'.*has log"):
        read_own(tmp_path / "v.h5ad", None, "counts")
    (tmp_path / "broken.h5ad").write_text("nothing")
    with pytest.raises(InputError, match=r"broken\.h5ad cannot be read"):
        read_own(tmp_path / "broken.h5ad", None)
    csv(VALUES, tmp_path / "v.csv")
    with pytest.raises(InputError, match="--layer is for"):
        read_own(tmp_path / "v.csv", sheet, "log")
    real = builtins.__import__

    def without(name, *rest):
        if name == "anndata":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install anndata"):
        read_own(tmp_path / "v.h5ad", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sample_id,age\n001,5\n", "lacks the column 'patient_id'"),
        ("sample_id,patient_id\n001,a\n001,b\n", "1 repeated sample ids"),
        ("sample_id,patient_id\n001,\n", "1 rows of samples.csv have no patient_id"),
        ("sample_id,patient_id,age,age\n001,a,1,2\n", "the column 'age' twice"),
        ("sample_id,patient_id\nx,a\ny,b\n", "neither in its first row nor in its first column"),
        ("sample_id\n001\n", "fewer than two columns; columns are separated by commas"),
    ],
)
def test_a_sheet_that_cannot_be_used_is_named(tmp_path, text, words):
    csv(VALUES, tmp_path / "v.csv")
    (tmp_path / "samples.csv").write_text(text)

    with pytest.raises(InputError, match=words):
        read_own(tmp_path / "v.csv", tmp_path / "samples.csv")


def test_files_that_are_not_there_or_of_another_kind_are_named(tmp_path, sheet):
    with pytest.raises(InputError, match="is not there"):
        read_own(tmp_path / "none.csv", sheet)
    (tmp_path / "v.xlsx").write_text("")
    with pytest.raises(InputError, match=r"neither \.csv"):
        read_own(tmp_path / "v.xlsx", sheet)
    with pytest.raises(InputError, match="sample sheet as well"):
        read_own(tmp_path / "v.csv", None)
    (tmp_path / "comma.csv").write_text("id;001;002\nTP53;1,5;2,5\n")
    with pytest.raises(InputError, match=r"separated by commas in a \.csv.*decimals"):
        read_own(tmp_path / "comma.csv", sheet)
    (tmp_path / "broken.parquet").write_text("nothing")
    with pytest.raises(InputError, match=r"broken\.parquet cannot be read.*export it again"):
        read_own(tmp_path / "broken.parquet", sheet)
    (tmp_path / "both.csv").write_text("id,001,002\n003,1,2\n")
    with pytest.raises(InputError, match="first row and in its first column"):
        read_own(tmp_path / "both.csv", sheet)
