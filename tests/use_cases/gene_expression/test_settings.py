"""The run config, and what presets fill in."""

import json

import pytest
from gene_expression.errors import InputError
from gene_expression.packaged import SETS, load
from gene_expression.panel import load_panel
from gene_expression.prepare import hold_out
from gene_expression.presets import OWN, PRESETS
from gene_expression.settings import ANALYSES, Settings, parse_design
from gene_expression.store import parse_levels

OURS = {"set": OWN, "panel": "synthetic", "scale": "log2", "levels": "group=A|B|C; sex=F|M", "design": "~ group + age"}


def test_a_preset_fills_in_what_is_empty_and_nothing_else(defaults):
    found = Settings.from_config({**defaults, "set": "all", "design": "mol_biol"})

    assert found.design == ("mol_biol",)
    assert (found.panel, found.scale, found.batch, found.method) == ("hgu95av2", "log2", "site", "limma")
    assert found.contrasts == ("mol_biol[BCR/ABL]",)


def test_own_data_state_everything(defaults):
    found = Settings.from_config({**defaults, **OURS, "contrasts": "group[B]; group[C]-group[B]", "batch": "none"})

    assert (found.categorical, found.numeric) == (("group",), ("age",))
    assert found.contrasts == ("group[B]", "group[C]-group[B]")
    assert found.levels == {"group": ("A", "B", "C"), "sex": ("F", "M")}
    assert (found.batch, found.method, found.scaling, found.group) == ("none", "limma", "none", "group")


def test_settings_survive_json(defaults):
    for name, preset in PRESETS.items():
        for analysis in preset.analyses:
            found = Settings.from_config({**defaults, "set": name, "analysis": analysis})
            assert Settings.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_filter_goes_by_the_first_category_unless_told(defaults):
    counts = {**defaults, **OURS, "scale": "counts", "method": "voom"}

    assert Settings.from_config({**counts, "filter-group": "sex"}).group == "sex"
    assert Settings.from_config({**counts, "filter": False}).group is None
    assert Settings.from_config({**counts, "design": "age"}).group is None


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"analysis": "gwas"}, "no analysis"),
        ({"set": "iris"}, "no set 'iris'; state \"own\""),
        ({"scale": "tpm"}, "'scale' is one of counts, log2"),
        ({"scale": ""}, "'scale'"),
        ({"method": "deseq2"}, "'method'"),
        ({"batch": "plate"}, "'batch'"),
        ({"scaling": "quantile"}, "'scaling'"),
        ({"design": ""}, "'design'"),
        ({"method": "voom"}, "voom is for raw counts"),
        ({"scale": "counts"}, "Counts need method"),
        ({"scaling": "tmm"}, "these are logarithms"),
        ({"filter-group": "site"}, "levels of site"),
        ({"levels": "split=train|test"}, "'split'"),
        ({"levels": "group=A"}, "column=level"),
        ({"design": "group * age"}, "plain sum"),
        ({"design": "0 + group"}, "plain sum"),
        ({"design": "group + log(age)"}, "plain sum"),
        ({"design": "age + age"}, "twice"),
        ({"analysis": "classify"}, "'outcome'"),
        ({"analysis": "classify", "outcome": "stage"}, "classes of stage"),
        ({"analysis": "survival", "outcome": "time"}, "'event'"),
        ({"grid": "1:ten:1"}, "'ten'"),
    ],
)
def test_what_is_missing_or_malformed_is_named(defaults, stated, words):
    with pytest.raises(InputError, match=words):
        Settings.from_config({**defaults, **OURS, **stated})


@pytest.mark.parametrize("formula", ["~ a + b", "a+b", "a, b", "~1 + a + b", " a ,b "])
def test_a_design_is_a_sum_of_columns(formula):
    assert parse_design(formula) == ("a", "b")


@pytest.mark.parametrize("name", [name for name in SETS if name.startswith("synthetic")])
def test_presets_are_true_of_the_synthetic_sets(name):
    """The others are looked at where R exports them (test_prepare)."""
    found, preset = load(name, 5, 0), PRESETS[name]
    assert preset.synthetic
    assert set(found.values.columns) == set(load_panel(preset.panel).genes)
    for column, levels in parse_levels(preset.levels).items():
        assert set(found.samples[column]) == set(levels)
    assert ((found.values.to_numpy() % 1 == 0).all()) == (preset.scale == "counts")


def test_every_set_has_a_preset_and_every_preset_a_differential_analysis():
    assert set(SETS) == set(PRESETS)
    for name, preset in PRESETS.items():
        assert "differential" in preset.analyses
        assert set(preset.analyses) <= set(ANALYSES)
        assert preset.synthetic == name.startswith("synthetic") == ("Synthetic" in preset.note)


def test_patients_are_held_out_by_their_own_id():
    ids = [f"p{number}" for number in range(500)]

    split = hold_out(ids)

    assert hold_out(ids[::-1]) == split[::-1]
    assert 70 < split.count("test") < 130
