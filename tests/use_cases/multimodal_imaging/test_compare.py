"""`compare`: a run's model beside the pooled patients'."""

import json

import numpy as np
import pytest
from flame_strategies.output import load_model, save_model
from multimodal_imaging import compare as command
from multimodal_imaging import fusion_fit, fusion_run
from multimodal_imaging.errors import InputError
from multimodal_imaging.validation import TRAIN

from tests.use_cases.multimodal_imaging.fusion_sites import Memory, settings, sites


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"missing": "impute"},
        {"harmonise": "combat"},
        {"missing": "complete"},
        {"task": "multiclass", "outcome": "three"},
    ],
    ids=["plain", "impute", "combat", "complete", "classes"],
)
def test_a_model_is_that_of_the_pooled_patients_and_a_changed_one_is_not(tmp_path, more):
    about, found = settings(**more), sites(4, gain=1.0)
    view = "complete" if about.missing == "complete" else "all"
    fusion_run.save(tmp_path, fusion_fit.fit(Memory(found, about), about, TRAIN, view=view), about)
    same = command.differences(tmp_path, found, about)
    assert same["largest_difference"]["coefficients"] < 1e-7
    assert same["penalty"]["federated"] == same["penalty"]["pooled"]

    arrays, told = load_model(tmp_path)
    arrays = {
        **arrays,
        "coefficients": arrays["coefficients"] + 0.01 * (np.arange(len(arrays["coefficients"])) == 3)[:, None],
    }
    save_model(tmp_path, arrays, told)
    assert command.differences(tmp_path, found, about)["largest_difference"]["coefficients"] == pytest.approx(
        0.01, rel=1e-3
    )
    save_model(tmp_path, {**arrays, "coefficients": arrays["coefficients"][:-1]}, told)
    with pytest.raises(InputError, match="other columns"):
        command.differences(tmp_path, found, about)


def test_a_run_on_disk_is_compared_and_told_of_once(run, stores, monkeypatch):
    folder, _ = run("fusion", task="regression", outcome="age")
    names = {path.name: {} for path in sorted(stores.glob("DIZ-*"))}
    monkeypatch.setattr(command, "read_prepared", lambda data: (None, None, {"nodes": names}))
    said: list[str] = []
    command.compare(folder, stores, said.append)
    summary = command.compare(folder, stores)
    assert summary["largest_difference"]["coefficients"] < 1e-7 * max(1, summary["largest_coefficient"])
    assert json.loads((folder / "compare.json").read_text()) == summary
    report = json.loads((folder / "report.json").read_text())
    assert [entry["label"] for entry in report["headline"]].count(
        "Largest difference in coefficients to the pooled patients"
    ) == 1
    assert command.OUTSIDE in json.dumps(report)
    assert "scikit-learn" in said[0]
    assert f"largest coefficient {summary['largest_coefficient']:9.1e}" in said[1]


def test_a_folder_without_a_run_and_other_analyses_are_refused(tmp_path, run):
    with pytest.raises(InputError, match="no result of this app"):
        command.compare(tmp_path, tmp_path)
    folder, _ = run("late", task="regression", outcome="age")
    with pytest.raises(InputError, match=r'exact fusion .* this run is of analysis = "late"'):
        command.compare(folder, tmp_path)
