"""What a DIZ approves: the committed terms, that the noise is what the epsilon needs, and the network."""

import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from flame_vetted.network import Network
from multimodal_imaging_private import terms
from multimodal_imaging_private.__main__ import PATIENTS, main
from multimodal_imaging_private.errors import InputError
from multimodal_imaging_private.predict import predict, saliency
from multimodal_imaging_private.volumes import VOXELS

from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import parse_terms
from flame_fl.contract.terms import Terms
from flame_fl.contract.vetted_terms import DpSgd, parameters
from flame_fl.flower.bundle import build_fab
from flame_fl.gate.claims import event_of
from flame_fl.gate.cohort_check import EVENT
from flame_fl.node.scan import scan
from flame_fl.privacy.filters import filter_for, multiplier_for
from tests.use_cases.multimodal_imaging_private.conftest import APP


def stated(epsilon: float, patients: int = PATIENTS) -> Terms:
    return parse_terms(tomllib.loads(terms.text(epsilon, patients))["tool"]["flame"])


def work() -> DpSgd:
    (found,) = stated(4.0).vetted.values()
    assert isinstance(found, DpSgd)
    return found


@pytest.mark.parametrize("epsilon", terms.EPSILONS)
def test_the_noise_is_the_least_that_fits(epsilon: float) -> None:
    """All steps and one noised count of patients, by the gate's own accountant."""
    said = stated(epsilon)
    privacy, (message,) = said.privacy, said.messages.values()
    assert (privacy.epsilon_max, privacy.delta, said.limits.runs) == (epsilon, 1e-5, 1)
    assert (privacy.unit, privacy.ground, said.secure_aggregation.required) == ("patient", "vetted", True)

    def events(multiplier: float) -> Counter:
        event = event_of(privacy.model_copy(update={"noise_multiplier": multiplier}))
        return Counter({event: message.per_run}) + Counter({EVENT: 1})

    assert privacy.noise_multiplier == multiplier_for(filter_for(epsilon, 1e-5), events)


def test_the_app_is_at_epsilon_4() -> None:
    assert (APP / "pyproject.toml").read_text() == terms.text(4.0, PATIENTS)


def test_a_copy_with_other_terms(tmp_path: Path, capsys) -> None:
    arguments = ["terms", "--epsilon", "8", "--patients", "120", "--out", str(tmp_path / "app")]
    assert main(arguments) == 0
    assert (tmp_path / "app" / "pyproject.toml").read_text() == terms.text(8.0, 120)
    assert main(arguments) == 2
    assert "there already" in capsys.readouterr().err
    with pytest.raises(InputError, match="choose one of"):
        terms.text(3.0, 120)


def test_the_first_weights_fit_the_stated_network() -> None:
    found = terms.first_weights(3)
    assert {name: array.shape for name, array in found.items()} == parameters(work())
    assert sum(array.size for array in found.values()) == 693
    assert all(np.array_equal(array, terms.first_weights(3)[name]) for name, array in found.items())
    assert not np.array_equal(found["0.weight"], terms.first_weights(4)["0.weight"])


def test_predictions_are_those_of_the_stated_network() -> None:
    """By flame_vetted's own arithmetic, which is what a DIZ trains with."""
    rng, network = np.random.default_rng(1), Network(work())
    arrays = terms.first_weights(1)
    volumes = rng.uniform(-0.2, 1.2, (5, VOXELS))  # bounds are part of the model
    standard = (np.clip(volumes, 0, 1) - terms.CENTRE) / terms.SCALE
    flat = network.flat([array.astype(np.float64) for array in arrays.values()])
    expected = network.outputs(flat, standard)[:, 0] * terms.AGE_SCALE + terms.AGE_CENTRE
    assert predict(arrays, volumes) == pytest.approx(expected, abs=1e-9)


def test_saliency_is_the_gradient_times_the_intensity() -> None:
    """Against differences of predictions at three places; a group's mean, and no more than one picture."""
    rng, arrays = np.random.default_rng(2), terms.first_weights(2)
    volumes = rng.uniform(0.1, 0.9, (3, VOXELS))
    found = saliency(arrays, volumes)
    assert found.shape == terms.SHAPE
    for place in (0, 777, VOXELS - 1):
        step = np.zeros(VOXELS)
        step[place] = 1e-5
        slope = (predict(arrays, volumes + step) - predict(arrays, volumes - step)) / 2e-5
        expected = np.abs(slope * (volumes[:, place] - terms.CENTRE) / terms.SCALE).mean()
        assert found.reshape(-1)[place] == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_a_steward_is_warned_of_nothing_in_the_code() -> None:
    """The automatic reading of the bundle finds nothing of high risk; what reads and writes files is of low."""
    found = scan(read_fab(build_fab(APP)).files)
    assert {finding.risk for finding in found.findings} <= {"low"}
