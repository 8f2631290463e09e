"""The run config, and what presets fill in."""

import json

import pytest
from gwas.errors import InputError
from gwas.packaged import SETS
from gwas.panel import load_panel
from gwas.presets import OWN, PRESETS
from gwas.settings import ANALYSES, Settings, parse_levels

OURS = {"set": OWN, "panel": "synthetic", "phenotype": "bmi", "covariates": "age, centre", "levels": "centre=A|B|C"}


def test_a_preset_fills_in_what_is_empty_and_nothing_else(settings):
    found = settings(analysis="logistic", covariates="age")

    assert (found.panel, found.phenotype, found.cases) == ("synthetic", "disease", "2")
    assert found.covariates == ("age",)
    assert (found.binary, found.coding) == (True, (1.0, 2.0))


def test_own_data_state_everything(settings):
    found = settings(**OURS)

    assert (found.numeric, found.categorical, found.binary) == (("age",), ("centre",), False)
    assert found.columns == 1 + 1 + 2 + found.pcs
    assert found.ridge == (0.01, 0.25, 0.5, 0.75, 0.99)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("analysis", ANALYSES)
def test_settings_survive_json(settings, name, analysis):
    found = settings(set=name, analysis=analysis)
    assert Settings.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_every_preset_is_a_set_with_a_panel():
    assert set(PRESETS) == set(SETS)
    for preset in PRESETS.values():
        assert load_panel(preset.panel).size
        assert set(preset.analyses) == set(ANALYSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"analysis": "bayes"}, "no analysis"),
        ({"set": "ukb"}, "no set"),
        ({"set": "own", "panel": "synthetic"}, "phenotype"),
        ({"set": "own", "phenotype": "y"}, "State a panel"),
        ({"missing": "guess"}, "'missing' is one of"),
        ({"hwe_in": "cases"}, "'hwe-in' is one of"),
        ({"hwe_in": "controls"}, "Only a disease has controls"),
        ({"cases": "3", "analysis": "logistic"}, "'cases' is one of"),
        ({"cases": "2", "analysis": "linear"}, "quantitative traits"),
        ({"maf": 1.5}, "'maf' is a number from 0 to 1"),
        ({"pcs": -1}, "'pcs' is at least 0"),
        ({"chunk": 0}, "'chunk' is at least 1"),
        ({"ridge": "0.5|1.0"}, "heritabilities"),
        ({"ridge": "half"}, "where a number should be"),
        ({"covariates": "trait"}, "named twice"),
        ({"covariates": "age, split"}, "cannot be a phenotype or covariate"),
        ({"phenotype": "patient_id"}, "cannot be a phenotype or covariate"),
        ({"levels": "trait=1|2"}, "no levels"),
        ({"levels": "sex=1"}, "not of the form"),
    ],
)
def test_what_cannot_be_run_is_refused(settings, change, message):
    with pytest.raises(InputError, match=message):
        settings(**change)


def test_levels_are_declared_once_each():
    assert parse_levels("batch=A|B; sex=1|2") == {"batch": ("A", "B"), "sex": ("1", "2")}
    for text in ("batch", "batch=A|A", "batch=A|", "batch=A|B; batch=C|D"):
        with pytest.raises(InputError, match="not of the form"):
            parse_levels(text)
