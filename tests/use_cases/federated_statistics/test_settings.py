"""The run config, and what presets fill in."""

import json

import pytest
from federated_statistics.errors import InputError
from federated_statistics.packaged import SETS, load
from federated_statistics.presets import PRESETS
from federated_statistics.settings import Settings
from federated_statistics.store import parse_levels


def test_a_preset_fills_in_what_is_empty_and_nothing_else(defaults):
    found = Settings.from_config({**defaults, "set": "lung", "analysis": "cox", "columns": "age"})

    assert found.columns == ("age",)
    assert (found.outcome, found.event, found.categories) == ("time", "died", ("sex",))
    assert found.grid == (1.0, 1100.0, 1.0)


def test_own_data_state_everything(defaults):
    config = {**defaults, "set": "own", "analysis": "linear", "columns": "age, bmi", "outcome": "bp"}
    config |= {"levels": "sex=f|m", "categories": "sex", "ranges": "age=0:120; bmi=10.5:60", "whole": "age"}

    found = Settings.from_config(config)

    assert found.columns == ("age", "bmi")
    assert found.levels == {"sex": ("f", "m")}
    assert found.ranges == {"age": (0.0, 120.0), "bmi": (10.5, 60.0)}
    assert found.whole == ("age",)


def test_settings_survive_json(defaults):
    for name, preset in PRESETS.items():
        for analysis in ("summary", *preset.analyses):
            found = Settings.from_config({**defaults, "set": name, "analysis": analysis})
            assert Settings.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"analysis": "median"}, "no analysis"),
        ({"set": "iris"}, "no analysis"),
        ({"analysis": "linear", "set": "own", "columns": "age"}, "'outcome'"),
        ({"analysis": "cox", "set": "own", "columns": "age", "outcome": "time"}, "'event'"),
        ({"analysis": "crosstab", "set": "own", "row": "a"}, "'column'"),
        ({"analysis": "summary", "set": "own"}, "Name the columns"),
        ({"analysis": "crosstab", "set": "own", "row": "a", "column": "b", "levels": "a=x|y"}, "levels of b"),
        ({"analysis": "cox", "set": "own", "columns": "a", "outcome": "t", "event": "e", "grid": "1:2"}, "grid"),
        ({"analysis": "cox", "set": "own", "columns": "a", "outcome": "t", "event": "e", "grid": "1:2:0"}, "grid"),
        ({"analysis": "elastic-net", "set": "own", "columns": "a", "outcome": "t"}, "'family'"),
        ({"probabilities": "half"}, "'half'"),
        ({"ranges": "age=0"}, "'ranges'"),
    ],
)
def test_what_is_missing_or_malformed_is_named(defaults, stated, words):
    with pytest.raises(InputError, match=words):
        Settings.from_config({**defaults, **stated})


def test_a_range_that_is_needed_is_asked_for(defaults):
    found = Settings.from_config({**defaults, "set": "own", "columns": "age", "analysis": "histogram"})
    with pytest.raises(InputError, match="range for age"):
        found.range_of("age")


@pytest.mark.parametrize("name", sorted(SETS))
def test_presets_are_true_of_their_sets(name):
    """Columns are there, whole numbers are whole, values lie in the ranges, words are among the levels."""
    frame, preset = load(name), PRESETS[name]
    assert set(SETS) == set(PRESETS)
    assert set(preset.ranges) == set(preset.columns)
    for column, (low, high) in preset.ranges.items():
        assert frame[column].dropna().between(low, high).all()
    for column in preset.whole:
        assert (frame[column].dropna() % 1 == 0).all()
    for column, levels in parse_levels(preset.levels).items():
        words = frame[column].dropna().map(lambda v: f"{v:g}" if isinstance(v, int | float) else v)
        assert set(words) == set(levels)
    for stated in preset.analyses.values():
        names = {
            n for key in ("columns", "categories", "outcome", "event", "row") for n in stated.get(key, "").split(",")
        }
        assert names - {""} <= set(frame)


def test_an_unknown_set_is_named():
    with pytest.raises(InputError, match="iris"):
        load("iris")
