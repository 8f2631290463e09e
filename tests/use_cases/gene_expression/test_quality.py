"""The input contract: what is refused, with which mend, and that no text names a patient."""

import numpy as np
import pandas as pd
import pytest
from gene_expression.errors import InputError
from gene_expression.quality import check
from hypothesis import given
from hypothesis import strategies as st

N, G = 12, 6
LEVELS = {"group": ("control", "case")}
DESIGN = ("group", "age")


def tables(scale="log2"):
    generator = np.random.default_rng(3)
    ids = [f"secret-{row}" for row in range(N)]
    values = generator.normal(7, 2, (N, G)) if scale == "log2" else generator.poisson(90, (N, G)).astype(float)
    genes = [f"ENSG{gene:011d}.{gene + 1}" for gene in range(G)]
    frame = pd.DataFrame(values, index=pd.Index(ids, name="sample_id"), columns=genes)
    sheet = pd.DataFrame({"sample_id": ids, "patient_id": ids})
    sheet["group"] = ["control", "case"] * (N // 2)
    sheet["age"] = np.arange(40.0, 40 + N)
    return frame, sheet


@pytest.mark.parametrize("scale", ["log2", "counts"])
def test_good_tables_pass_and_what_they_are_is_found(scale):
    values, sheet = tables(scale)
    shuffled = values.iloc[::-1]

    found = check(shuffled, sheet, design=DESIGN, levels=LEVELS)

    assert (found.scale, found.id_type) == (scale, "ensembl")
    assert list(found.values.index) == list(sheet["sample_id"])
    assert list(found.values.columns) == [f"ENSG{gene:011d}" for gene in range(G)]
    np.testing.assert_array_equal(found.values.to_numpy(), values.to_numpy())
    assert found.report["samples_left_out_by_design"] == 0


def test_incomplete_values_are_counted():
    values, sheet = tables()
    values.iloc[:3, 1] = np.nan
    values.iloc[:, 2] = 5.0
    sheet.loc[4, "age"] = np.nan

    report = check(values, sheet, design=DESIGN, levels=LEVELS).report

    assert (report["values_missing"], report["genes_with_missing"], report["genes_constant"]) == (3, 1, 1)
    assert report["samples_left_out_by_design"] == 1


def cell(value):
    return lambda v, s: (v.where(~((v.index == "secret-0")[:, None] & (v.columns == v.columns[0])[None, :]), value), s)


def sheet(**columns):
    return lambda v, s: (v, s.assign(**columns))


def genes(names):
    return lambda v, s: (v.set_axis(names, axis=1), s)


ENSEMBL = [f"ENSG{gene:011d}" for gene in range(G)]
BROKEN = [
    ("log2", cell(np.inf), "", r"infinite values.*log2\(x \+ 1\)"),
    ("log2", lambda v, s: (v * 1000, s), "", "neither raw counts"),
    ("log2", lambda v, s: (v * 1000, s), "log2", r"above 40.*log2\(x \+ 1\)"),
    ("log2", lambda v, s: (v, s), "counts", "not whole numbers"),
    ("log2", lambda v, s: (v - 20, s), "counts", "negative counts"),
    ("counts", lambda v, s: (v, s), "log2", "state --scale counts"),
    ("counts", lambda v, s: (v * 0.5 + 0.25, s), "counts", "not whole numbers"),
    ("counts", lambda v, s: (v * 0.5 + 0.25, s), "", "raw counts, rounded where the quantifier estimates them"),
    ("counts", cell(-1.0), "", "negative counts.*--scale log2"),
    ("counts", cell(np.nan), "counts", "not whole numbers|counts are missing"),
    ("counts", lambda v, s: (v.mul(v.index != "secret-0", axis=0), s), "", "1 samples have no read"),
    ("log2", lambda v, s: (v * np.nan, s), "", "no value"),
    ("log2", lambda v, s: (v.astype(object).replace(v.iloc[0, 0], "high"), s), "", "no numbers"),
    ("log2", genes([*ENSEMBL[:3], "TP53", "EGFR", "1007_s_at"]), "", "several types.*map all"),
    ("log2", genes([*ENSEMBL[:5], ENSEMBL[0] + ".9"]), "", "1 gene ids are there more than once"),
    ("log2", genes([*ENSEMBL[:5], " "]), "", "1 genes have no id"),
    ("log2", lambda v, s: (pd.concat([v, v.iloc[:1].set_axis(["symbol"])]), s), "", "1 samples.*no sample .symbols"),
    ("log2", lambda v, s: (v.iloc[1:], s), "", "0 samples are only in the expression matrix and 1 only in"),
    ("log2", lambda v, s: (pd.concat([v, v.iloc[:1]]), s), "", "1 repeated sample ids"),
    ("log2", sheet(split="dev"), "", "split other than train or test"),
    ("log2", lambda v, s: (v, s.drop(columns="age")), "", "no column 'age'"),
    ("log2", sheet(age=[np.nan] * 7 + [50.0, 51, 52, 53, 54]), "", "7 of 12 samples have no usable age"),
    ("log2", sheet(age=50.0), "", "'age' of the design has the same value"),
    ("log2", sheet(group="control"), "", "No sample has the level 'case' of 'group'"),
    ("log2", sheet(group="case"), "", "No sample has the level 'control' of 'group'"),
    ("log2", sheet(group=["control", "Case"] * (N // 2)), "", "level 'case' of 'group'.*upper and lower case"),
    ("log2", sheet(group="Case"), "", "12 of 12 samples have no usable group"),
    ("log2", sheet(age="old"), "", "'age' holds no numbers; write numbers without units, or declare its levels"),
    ("log2", sheet(age=[1.0, 3.0] * (N // 2)), "", "collinear"),
]


@pytest.mark.parametrize(("scale", "breaking", "stated", "words"), BROKEN)
def test_what_cannot_be_right_is_refused_with_a_mend(scale, breaking, stated, words):
    values, samples = breaking(*tables(scale))

    with pytest.raises(InputError, match=words) as refused:
        check(values, samples, scale=stated, design=DESIGN, levels=LEVELS)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("absent", ["control", "case", "relapse"])
def test_of_three_levels_each_has_a_sample(absent):
    levels = {"group": ("control", "case", "relapse")}
    others = [level for level in levels["group"] if level != absent]
    values, samples = tables()

    with pytest.raises(InputError, match=f"level '{absent}' of 'group'"):
        check(values, samples.assign(group=others * (N // 2)), design=("group",), levels=levels)


def test_a_patient_in_train_and_test_is_refused():
    values, samples = tables()
    samples["patient_id"] = ["p"] * N
    samples["split"] = ["train", "test"] * (N // 2)

    with pytest.raises(InputError, match="1 patients are in train and in test"):
        check(values, samples, levels={})


@given(st.integers(0, 2**31), st.integers(0, 3))
def test_counts_are_told_from_their_logarithms(seed, offset):
    """Whatever the library: raw counts are counts, and log2(count + 1) of them is not."""
    counts = np.random.default_rng(seed).negative_binomial(2, 0.01, (8, 30)).astype(float) + offset
    counts[:, 0] = 100
    ids = pd.Index([f"s{row}" for row in range(8)], name="sample_id")
    genes = [f"GENE{gene}" for gene in range(30)]
    sheet_ = pd.DataFrame({"sample_id": ids, "patient_id": ids})

    assert check(pd.DataFrame(counts, ids, genes), sheet_, levels={}).scale == "counts"
    assert check(pd.DataFrame(np.log2(counts + 1), ids, genes), sheet_, levels={}).scale == "log2"
