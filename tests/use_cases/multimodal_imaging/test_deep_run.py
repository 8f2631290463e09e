"""Whole runs of the network from stores on disk: through the ClientApp, with FedBN's state, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from flame_strategies.output import load_model
from multimodal_imaging import deep_model
from multimodal_imaging.deep_run import find_inputs
from multimodal_imaging.errors import InputError
from multimodal_imaging.pooled_deep import InMemory
from multimodal_imaging.store import load_site

from tests.use_cases.multimodal_imaging import made

SMALL = {"rounds": 2, "epochs": 1, "hidden": 8, "channels": "4, 8", "embedding": 8, "norm_groups": 2}


def loaded(stores, settings):
    folders = [stores / f"DIZ-{n}" for n in range(1, 6)]
    images = [folder / "images" if (folder / "images").is_dir() else None for folder in folders]
    both = enumerate(zip(folders, images, strict=True), 1)
    return [load_site(folder / "patients", own, settings, node=node) for node, (folder, own) in both]


def test_run_is_that_in_memory(run, stores):
    """Stores, messages and strategy change nothing, to the bit: the weights, and the sums about test patients."""
    folder, grid = run("deep", task="multiclass", **SMALL)
    settings = made.settings(analysis="deep", task="multiclass", **SMALL)
    expected = InMemory(loaded(stores, settings), settings).run()
    arrays, described = load_model(folder)
    weights = {name.removeprefix("weights/"): a for name, a in arrays.items() if name.startswith("weights/")}
    for slot, part in deep_model.pack(weights, expected.inputs.recipe).items():
        np.testing.assert_array_equal(part, expected.trained.packed[slot])
    assert described["temperature"] == expected.temperature.value
    told = json.loads((folder / "analysis.json").read_text())
    assert told["numbers"]["test, all"]["patients"] == expected.test["n"][0]
    assert list(told["details"]["losses"].values()) == pytest.approx(list(expected.trained.losses.values()))
    assert told["details"]["holders"]["2"] == {"genome": 4, "phenome": 5, "T1": 3}
    assert len({message.metadata.dst_node_id for message in grid.seen}) == 5
    report = json.loads((folder / "report.json").read_text())
    titles = [figure["title"] for figure in report["figures"]]
    assert "What the network looks at in T1" in titles
    assert "What each modality adds" in titles


def test_fedbn_keeps_its_norms_in_the_session(run, stores):
    """In Context.state of each DIZ, its own; neither in a message nor in the saved model."""
    folder, grid = run("deep", strategy="fedbn", norm="batch", saliency=False, **SMALL)
    kept = [grid.states[node].array_records["norms"] for node in range(1, 6)]
    name = next(name for name in kept[0] if name.endswith("running_mean") and "phenome" in name)
    means = np.stack([record[name].numpy() for record in kept])
    assert len(np.unique(means.round(6), axis=0)) == 5
    sent = {array for message in (*grid.seen, *grid.replies) for record in message.content.array_records.values()
            for array in record}  # fmt: skip
    assert not any("norm" in array or "running" in array for array in sent)
    arrays, described = load_model(folder)
    assert not any("running" in array for array in arrays)
    assert name in described["kept_at_the_sites"]


def test_messages_bring_no_patients_no_recipe_and_no_more(run):
    """Beside weights: scaling, the round, the set and the temperature."""
    _, grid = run("deep", task="multiclass", **SMALL)
    keys = {key for message in grid.seen for record in message.content.config_records.values() for key in record}
    assert keys == {"centre", "scale", "outcome-centre", "outcome-scale", "server-round", "set", "temperature"}


def test_a_network_that_is_not_the_run_configs_is_refused():
    """A hub cannot have another one trained."""
    settings = made.settings(analysis="deep", **SMALL)
    sites = made.sites()
    other = replace(settings, hidden=16)
    with pytest.raises(InputError, match="finite weights as 'modality1'"):
        InMemory(sites, settings).fit(find_inputs(InMemory(sites, other), other))
