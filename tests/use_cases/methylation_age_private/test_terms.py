"""What a DIZ approves: the committed terms, and that their noise is what their epsilon needs."""

import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from methylation_age import packaged
from methylation_age.panel import load_panel
from methylation_age_private import mean_betas, terms
from methylation_age_private.__main__ import main
from methylation_age_private.errors import InputError

from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import parse_terms
from flame_fl.flower.bundle import build_fab
from flame_fl.gate.claims import event_of
from flame_fl.gate.cohort_check import EVENT
from flame_fl.node.scan import scan
from flame_fl.privacy.filters import filter_for, multiplier_for
from tests.use_cases.methylation_age_private.conftest import APP


@pytest.mark.parametrize("epsilon", list(terms.NOISE_MULTIPLIERS))
def test_the_noise_is_the_least_that_fits(epsilon: float) -> None:
    """One release and one noised count of patients, by the gate's own accountant."""
    privacy = parse_terms(tomllib.loads(terms.text(epsilon))["tool"]["flame"]).privacy
    assert (privacy.epsilon_max, privacy.delta) == (epsilon, 1e-5)

    def events(multiplier: float) -> Counter:
        return Counter({event_of(privacy.model_copy(update={"noise_multiplier": multiplier})): 1}) + Counter({EVENT: 1})

    assert privacy.noise_multiplier == multiplier_for(filter_for(epsilon, 1e-5), events)


def test_the_app_is_the_one_for_epsilon_1() -> None:
    assert (APP / "pyproject.toml").read_text() == terms.text(1.0)


@pytest.mark.parametrize("epsilon", list(terms.NOISE_MULTIPLIERS))
def test_the_claim_is_of_patients_by_vetted_code_under_masks(epsilon: float) -> None:
    said = tomllib.loads(terms.text(epsilon))["tool"]
    stated = parse_terms(said["flame"])
    assert (stated.privacy.unit, stated.privacy.ground) == ("patient", "vetted")
    assert stated.secure_aggregation.required
    assert set(stated.vetted) == set(stated.messages) == {"query.moments"}
    assert stated.messages["query.moments"].per_run == stated.limits.runs == 1
    # what the server is told is what the gates do
    assert said["flwr"]["app"]["config"]["noise-std"] == pytest.approx(
        stated.privacy.noise_multiplier * stated.privacy.clip_norm, rel=1e-9
    )
    bound = min(rule.max_abs for rule in stated.messages["query.moments"].arrays)
    assert bound >= 50 * terms.noise_std(epsilon)  # nothing is cut off by chance


def test_the_panel_is_that_of_the_clock_without_noise(blood) -> None:
    """CpGs in the same order; centres are the public means, and no figure of the blood set."""
    assert tuple(mean_betas()) == load_panel("gp-age-71").cpgs
    public = packaged.average_betas(list(mean_betas()))
    assert list(mean_betas().values()) == pytest.approx(public, abs=5.1e-4)
    assert np.abs(blood[list(mean_betas())].mean().to_numpy() - public).max() > 0.05


def test_a_copy_with_other_terms(tmp_path: Path, capsys) -> None:
    assert main(["terms", "--epsilon", "8", "--out", str(tmp_path / "app")]) == 0
    assert (tmp_path / "app" / "pyproject.toml").read_text() == terms.text(8.0)
    assert (tmp_path / "app" / "methylation_age_private" / "server_app.py").is_file()
    assert main(["terms", "--epsilon", "8", "--out", str(tmp_path / "app")]) == 2
    assert "there already" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"choose one of 0\.5, 1"):
        terms.text(3.0)


def test_a_steward_is_warned_of_nothing_in_the_code() -> None:
    """The automatic reading of the bundle finds nothing of high risk; what reads and writes files is of low."""
    found = scan(read_fab(build_fab(APP)).files)
    assert {finding.risk for finding in found.findings} == {"low"}
