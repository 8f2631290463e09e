"""Panels: which genes, in which order."""

import json
from importlib.resources import files

import pytest
from gene_expression import panel, panel_command
from gene_expression.errors import InputError
from gene_expression.panel import id_type, load_panel, panel_text, without_version
from hypothesis import given
from hypothesis import strategies as st

SHIPPED = {
    "bladderbatch": (22283, "probe"),
    "hgu95av2": (12625, "probe"),
    "golub": (3051, "probe"),
    "miniacc": (198, "symbol"),
    "synthetic": (2000, "symbol"),
}


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_panel_is_as_long_as_its_set_and_says_what_its_ids_are(name):
    found = load_panel(name)

    assert (len(found.genes), found.id_type) == SHIPPED[name]
    assert id_type(found.genes) == found.id_type
    assert found.title
    assert found.origin


def test_a_panel_that_is_not_there_is_named():
    for name in ("nothing", "../errors", "Golub"):
        with pytest.raises(InputError, match="There is no panel"):
            load_panel(name)


@given(st.lists(st.integers(0, 10**11 - 1), min_size=1, max_size=30, unique=True), st.integers(1, 99))
def test_ensembl_ids_lose_their_version_and_nothing_else(numbers, version):
    bare = [f"ENSG{number:011d}" for number in numbers]
    text = panel_text("t", "o", [f"{gene}.{version}" for gene in bare])

    assert json.loads(text) == {"title": "t", "origin": "o", "id_type": "ensembl", "genes": bare}


def test_other_ids_keep_their_dots():
    assert [without_version(gene) for gene in ("RP11-34P13.7", "AC004233.2", "1007_s_at")] == [
        "RP11-34P13.7",
        "AC004233.2",
        "1007_s_at",
    ]


@pytest.mark.parametrize(
    ("genes", "words"),
    [
        ([], "no gene"),
        (["TP53", "EGFR", "TP53"], "1 genes more than once"),
        (["ENSG00000141510.1", "ENSG00000141510.2"], "1 genes more than once"),
        (["ENSG00000141510", "EGFR", "1007_s_at"], "1 ensembl, 1 probe, 1 symbol of 3"),
    ],
)
def test_a_list_that_is_no_panel_is_refused(genes, words):
    with pytest.raises(InputError, match=words):
        panel_text("t", "o", genes)


def test_the_command_writes_a_panel_that_can_be_loaded(tmp_path, monkeypatch):
    package = tmp_path / "gene_expression"
    (package / "panels").mkdir(parents=True)
    for module in (panel, panel_command):
        monkeypatch.setattr(module, "files", lambda _: package)
    (tmp_path / "ids.txt").write_text("ENSG00000141510.17\n\nENSG00000146648.5\n")

    said = panel_command.write_panel("my-study", tmp_path / "ids.txt", "Two genes", "by hand")

    assert "2 genes" in said
    assert load_panel("my-study").genes == ("ENSG00000141510", "ENSG00000146648")
    with pytest.raises(InputError, match="small letters"):
        panel_command.write_panel("My Study", tmp_path / "ids.txt", "t", "o")
    with pytest.raises(InputError, match="cannot be read"):
        panel_command.write_panel("other", tmp_path / "none.txt", "t", "o")
    with pytest.raises(InputError, match="not written by prepare"):
        panel_command.write_panel("other", tmp_path, "t", "o")


def test_the_folder_of_panels_holds_panels_alone():
    names = {entry.name for entry in (files("gene_expression") / "panels").iterdir()}
    assert names >= {f"{name}.json" for name in SHIPPED}
    assert all(name.endswith(".json") for name in names)
