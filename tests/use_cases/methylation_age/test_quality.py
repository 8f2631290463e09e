"""The input contract for own data: what is refused, with which sentence, and what is dropped."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from methylation_age import quality
from methylation_age.errors import InputError

MadeUp = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
Change = Callable[[pd.DataFrame, pd.DataFrame], object]


def checked(betas: pd.DataFrame, sheet: pd.DataFrame, folder: Path, *, transpose: bool = False) -> quality.Checked:
    (betas.T if transpose else betas).to_csv(folder / "betas.csv")
    sheet.to_csv(folder / "samples.csv", index=False)
    return quality.check(quality.read_betas(folder / "betas.csv"), quality.read_samples(folder / "samples.csv"))


def test_orientation_does_not_matter(made_up: MadeUp, tmp_path: Path) -> None:
    """Samples x CpGs and CpGs x samples give the same table."""
    betas, sheet = made_up(12, seed=0)
    upright = checked(betas, sheet, tmp_path)
    lying = checked(betas, sheet, tmp_path, transpose=True)
    pd.testing.assert_frame_equal(upright.betas, lying.betas)
    np.testing.assert_allclose(upright.betas, betas)


@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz", ".parquet"])
def test_other_formats_are_read(made_up: MadeUp, tmp_path: Path, suffix: str) -> None:
    """TSV, gzip and Parquet hold the same as CSV."""
    betas, _ = made_up(6, seed=0)
    file = tmp_path / f"betas{suffix}"
    if suffix == ".parquet":
        betas.to_parquet(file)
    elif suffix == ".tsv":
        betas.to_csv(file, sep="\t")
    else:
        file.write_bytes(gzip.compress(betas.to_csv(sep="\t").encode()))
    np.testing.assert_allclose(quality.read_betas(file), betas)


def _percent(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    betas *= 100


def _m_values(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    betas[:] = np.log2((betas + 0.01) / (1.01 - betas))


def _huge(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    betas *= 1e5


def _twice_a_cpg(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    betas.columns = [betas.columns[1], *betas.columns[1:]]


def _twice_a_sample(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    betas.index = [betas.index[1], *betas.index[1:]]


def _twice_in_the_sheet(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    sheet.loc[0, "sample_id"] = sheet.loc[1, "sample_id"]


def _no_age(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    sheet.loc[0, "age"] = np.nan


def _age_in_days(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    sheet["age"] *= 365


def _unknown_column(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    sheet["diagnosis"] = "none"


def _no_patient_column(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    del sheet["patient_id"]


def _age_among_the_cpgs(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    betas["Age"] = 0.5


def _words(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    betas[betas.columns[0]] = "low"


def _other_ids(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    sheet.loc[0, "sample_id"] = "elsewhere"


def _mostly_empty(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    betas.iloc[:5] = np.nan


def _patient_in_both(betas: pd.DataFrame, sheet: pd.DataFrame) -> None:
    sheet["split"] = ["train", "test"] * (len(sheet) // 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_percent, "percentages"),
        (_m_values, "M-values"),
        (_huge, "no table of betas"),
        (_twice_a_cpg, "CpGs more than once"),
        (_twice_a_sample, "repeated sample ids"),
        (_twice_in_the_sheet, "repeated sample ids"),
        (_no_age, "no age"),
        (_age_in_days, "months or days"),
        (_unknown_column, "unknown columns"),
        (_no_patient_column, "lacks the column 'patient_id'"),
        (_age_among_the_cpgs, "no CpGs"),
        (_words, "not numbers"),
        (_other_ids, "only in the sample sheet"),
        (_mostly_empty, "miss more than"),
        (_patient_in_both, "in two of train, test, target"),
    ],
)
def test_bad_tables_are_refused_without_naming_a_patient(
    made_up: MadeUp, tmp_path: Path, change: Change, sentence: str
) -> None:
    """Each fault has its own sentence, and no sentence carries an id."""
    betas, sheet = made_up(12, seed=0)
    change(betas, sheet)
    with pytest.raises(InputError, match=sentence) as caught:
        checked(betas, sheet, tmp_path)
    text = str(caught.value)
    assert not any(name in text for name in (*made_up(12, seed=0)[1]["sample_id"], "elsewhere"))
    assert "\n" not in text


def test_no_orientation_can_be_told(tmp_path: Path) -> None:
    """A matrix without CpG ids is refused, not guessed."""
    pd.DataFrame(np.full((4, 4), 0.5), columns=list("abcd")).to_csv(tmp_path / "x.csv")
    with pytest.raises(InputError, match="CpG ids"):
        quality.read_betas(tmp_path / "x.csv")


@pytest.mark.parametrize("name", ["absent.csv", "table.xlsx", "broken.parquet"])
def test_unreadable_files_are_refused(tmp_path: Path, name: str) -> None:
    """A missing, foreign or broken file is one sentence."""
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"not a table")
    with pytest.raises(InputError, match=name):
        quality.read_betas(tmp_path / name)


def test_sparse_probes_and_samples_are_dropped_and_counted(made_up: MadeUp, tmp_path: Path) -> None:
    """First the probes with too many missing values, then the samples; both are reported."""
    betas, sheet = made_up(40, seed=0)
    betas.iloc[:10, 0] = np.nan  # a probe that misses a quarter
    betas.iloc[0, 1:15] = np.nan  # a sample that misses a fifth
    result = checked(betas, sheet, tmp_path)
    assert result.report["cpgs_dropped"] == 1
    assert result.report["samples_dropped"] == 1
    assert list(result.betas.index) == list(result.samples["sample_id"])
