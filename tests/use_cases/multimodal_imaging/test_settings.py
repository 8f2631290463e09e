"""The run config is read as it is written, and what makes no sense is refused with a sentence."""

import json

import pytest
from multimodal_imaging import layout
from multimodal_imaging.errors import InputError
from multimodal_imaging.panel import load_panel
from multimodal_imaging.presets import PRESETS
from multimodal_imaging.settings import Settings, parse_levels

from tests.use_cases.multimodal_imaging import made


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("analysis", ["fusion", "late", "deep"])
def test_the_shipped_run_config_holds_for_every_set_and_analysis(defaults, name, analysis):
    told = Settings.from_config({**defaults, "set": name, "analysis": analysis})
    assert Settings.from_json(json.loads(json.dumps(told.to_json()))) == told
    features = layout.features(told)
    assert set(features) == set(told.modalities)
    assert all(features.values())
    assert layout.kinds(told) == {name: told.kind(name) for name in told.modalities}


def test_presets_fill_in_only_what_is_empty(defaults):
    told = Settings.from_config({**defaults, "modalities": "phenome, T1", "outcome": "diagnosis", "task": "binary"})
    assert told.modalities == ("phenome", "T1")
    assert (told.classes, told.model) == (("no", "yes"), "logistic")
    assert told.grid == (48, 58, 48)
    assert layout.shapes(told) == {"T1": (48, 58, 48)}
    assert len(layout.features(told)["T1"]) == 2 * 6 * 7 * 6 + 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"set": "adni"}, "no set 'adni'"),
        ({"analysis": "magic"}, "'analysis' is one of"),
        ({"task": "ranking", "outcome": "age"}, "'task' is one of"),
        ({"modalities": ""}, "State the run-config key 'modalities'"),
        ({"modalities": "genome, genome"}, "twice"),
        ({"modalities": "a, b, c, d, e, phenome, T1"}, "at most 6"),
        ({"images": "CT"}, "CT are not among the modalities"),
        ({"pictures": "XRAY"}, "XRAY are not among the images"),
        ({"phenome": ""}, "columns of the phenome"),
        ({"phenome": "age, sbp"}, "what it predicts"),
        ({"covariates": "age"}, "among the covariates"),
        ({"task": "binary", "outcome": "grade"}, "two if binary"),
        ({"task": "multiclass", "outcome": "colour"}, "Declare the classes"),
        ({"outcome": "diagnosis"}, "has levels"),
        ({"task": "survival", "outcome": "time"}, "'?event"),
        ({"levels": "sex=female"}, "not of the form"),
        ({"penalties": "1, 0.1"}, "rising"),
        ({"penalties": "0, 1"}, "above 0"),
        ({"penalties": "many"}, "'penalties' has 'many'"),
        ({"grid": "48x48"}, "three numbers"),
        ({"grid": "48x48x2"}, "from 4 to 512"),
        ({"regions": "99x2x2"}, "at most one a voxel"),
        ({"dropout": 1.0}, "below 1"),
        ({"folds": 1}, "'folds' is 2 or more"),
        ({"min_nodes": 2}, "'min-nodes' is 3 or more"),
        ({"rounds": "soon"}, "'rounds' is no int"),
        ({"norm": "layer"}, "'norm' is one of"),
        ({"channels": ""}, "channels are whole numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides, words):
    with pytest.raises(InputError, match=words):
        made.settings(**overrides)


def test_levels_are_declared_in_order():
    assert parse_levels(" a = x|y ;b=1|0|2;") == {"a": ("x", "y"), "b": ("1", "0", "2")}
    for wrong in ("a", "a=x", "a=x|x", "=x|y", "a=x|", "a=x|y; a=u|v"):
        with pytest.raises(InputError, match="not of the form"):
            parse_levels(wrong)


def test_survival_has_a_grid_of_times():
    told = made.settings(task="survival", outcome="time", event="died", times="30:600:30")
    assert (told.model, told.times) == ("cox", (30.0, 600.0, 30.0))
    for wrong in ("30:630:30", "30:600:0", "600:30:30", "30:30:30"):
        with pytest.raises(InputError, match="2 to 20"):
            made.settings(task="survival", outcome="time", event="died", times=wrong)


def test_panels_are_found_by_a_plain_name_only():
    assert len(load_panel("brain").blocks["genome"].features) == 300
    assert load_panel("brca").blocks["rna"].features[0] == "rna001"
    assert load_panel("").blocks == {}
    for wrong in ("../brain", "brain.json", "absent", "a/b"):
        with pytest.raises(InputError, match="no panel"):
            load_panel(wrong)
