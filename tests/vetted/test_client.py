"""The ClientApp as a gate starts it: settings and view in, exactly the stated arrays out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from flame_vetted.client import SETTINGS, answer, read_settings
from flame_vetted.network import Network

from flame_fl.contract.content import Content
from flame_fl.contract.errors import InputError
from flame_fl.contract.ports import Envelope
from flame_fl.contract.vetted_terms import input_arrays, output_arrays
from flame_fl.flower.app_host import AppHost
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.support.statistics import standard_deviation_is
from tests.vetted.made import columns, model, sums

SUMS = {"unit": "patient", "ground": "vetted", "mechanism": "sums", "clip_norm": 30.0, "noise_multiplier": 1e-4}
DP_SGD = {**SUMS, "mechanism": "dp-sgd", "clip_norm": 1.0, "sample_rate": 0.5, "steps": 3}
COUNT = sums({"kind": "count"})
MOMENTS = sums({"kind": "moments", "features": [columns("a", fill=0.0)], "target": columns("y", fill=0.0)})
GLM = sums({"kind": "glm-gradient", "family": "gaussian", "features": [columns("a")], "target": columns("y")})
MODEL = model(features=[columns("a", fill=0.0)], layers=[{"kind": "linear", "inputs": 1, "outputs": 1}])


def host(tmp_path: Path, privacy: dict[str, Any], works: dict[str, Any]) -> AppHost:
    view, app = tmp_path / "view", tmp_path / "app"
    view.mkdir()
    app.mkdir()
    (view / "store.json").write_text(
        '{"kind": "table", "table": "t.csv", "patient_id": "pid", "record_id": null, "files": []}'
    )
    pa.csv.write_csv(pa.table({"pid": ["p", "q", "p"], "a": ["1", "2", "?"], "y": ["0.5", "1", "1"]}), view / "t.csv")
    settings = {"privacy": privacy, "work": {kind: work.model_dump(mode="json") for kind, work in works.items()}}
    return AppHost(
        app, "flame_vetted.client:app", run_id=1, node_id=2,
        run_config={SETTINGS: json.dumps(settings)}, node_config={"data-cohort": str(view)},
    )  # fmt: skip


def ask(app: AppHost, kind: str, arrays: Any = None) -> Content:
    content = Content({"arrays": arrays} if arrays else {})
    return app.handle(Envelope("message", kind, "1", content))


def fits(content: Content, work: Any) -> bool:
    found = {(r, n): (str(a.dtype), a.shape) for r, n, a in content.array_items()}
    return found == output_arrays(work) and not content.metrics and not content.configs


def released(content: Content) -> list[float]:
    """All numbers: six coordinates with noise of about 100 units are equal by chance with probability 1e-15."""
    return [float(x) for _, _, array in content.array_items() for x in array.reshape(-1)]


def test_each_message_type_has_its_own_work(tmp_path: Path) -> None:
    app = host(tmp_path, SUMS, {"query.count": COUNT, "query.moments": MOMENTS, "train": GLM})
    count, moments = ask(app, "query.count"), ask(app, "query.moments")
    assert fits(count, COUNT)
    assert count.arrays["sums"]["n"] == pytest.approx(2, abs=0.1)
    assert fits(moments, MOMENTS)
    assert moments.arrays["sums"]["x"] == pytest.approx((1 + 0) / 2 + 2, abs=0.1)
    assert fits(ask(app, "train", {"coefficients": np.zeros(2)}), GLM)


def test_training_answers_with_weights_of_the_stated_shapes(tmp_path: Path) -> None:
    app = host(tmp_path, DP_SGD, {"train": MODEL})
    sent = {"0.weight": np.zeros((1, 1), np.float32), "0.bias": np.zeros(1, np.float32)}
    reply = ask(app, "train", sent)
    assert fits(reply, MODEL)
    assert reply.arrays["arrays"]["0.weight"].any()


def test_the_noise_of_an_answer_is_the_stated_one() -> None:
    """End to end, 4,900 coordinates, alpha 1e-9; a tenth off would lie 9 standard errors away."""
    wide = sums({"kind": "histogram", "cells": [{"name": c, "edges": list(range(71))} for c in ("a", "b")]})
    claim, _ = read_settings(json.dumps({"privacy": {**SUMS, "noise_multiplier": 2.0}, "work": {}}))

    class Nobody:
        patients: tuple[str, ...] = ()
        features: tuple[str, ...] = ()

        def numbers(self, name: str) -> Any:
            return np.zeros(0)

        def words(self, name: str) -> list[str | None]:
            return []

    released = answer(wide, claim, Nobody(), [])["count"].reshape(-1)
    assert standard_deviation_is(released, 60.0)
    assert not standard_deviation_is(released, 60.0 / 0.9)
    assert not standard_deviation_is(released, 60.0 / 1.1)


def test_equal_questions_have_different_noise(tmp_path: Path) -> None:
    app = host(tmp_path, SUMS, {"query": MOMENTS})
    first, second = (released(ask(app, "query")) for _ in range(2))
    assert first != second


def test_a_seeded_run_does_not_seed_the_noise(tmp_path: Path) -> None:
    """A simulation seeds random, NumPy and torch before each message."""
    app = host(tmp_path, SUMS, {"query": MOMENTS})
    content = Envelope("message", "query", "1", Content(), seed=7)
    first, second = (released(app.handle(content)) for _ in range(2))
    assert first != second


def test_another_view_in_the_same_place_is_read_anew(tmp_path: Path) -> None:
    app = host(tmp_path, SUMS, {"query": COUNT})
    assert ask(app, "query").arrays["sums"]["n"] == pytest.approx(2, abs=0.1)
    said = (tmp_path / "view/store.json").read_text()
    (tmp_path / "view/store.json").unlink()
    pa.csv.write_csv(pa.table({"pid": ["p"], "a": ["1"], "y": ["1"]}), tmp_path / "view/t.csv")
    (tmp_path / "new.json").write_text(said)
    (tmp_path / "new.json").rename(tmp_path / "view/store.json")
    assert ask(app, "query").arrays["sums"]["n"] == pytest.approx(1, abs=0.1)


class TestErrors:
    """Errors that the data have no part in."""

    def test_a_message_type_without_work(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no work"):
            ask(host(tmp_path, SUMS, {"query": COUNT}), "train")

    @pytest.mark.parametrize("sent", [None, {"coefficients": np.zeros(3)}, {"coefficients": np.array([True, False])}])
    def test_a_message_without_the_arrays(self, tmp_path: Path, sent: Any) -> None:
        with pytest.raises(InputError, match="does not bring"):
            ask(host(tmp_path, SUMS, {"train": GLM}), "train", sent)

    def test_a_work_under_another_mechanism(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="mechanism"):
            ask(host(tmp_path, DP_SGD, {"query": COUNT}), "query")

    @pytest.mark.parametrize(
        "change",
        [{"mechanism": "none"}, {"unit": "site"}, {"clip_norm": None}, {"clip_norm": -1}, {"noise_multiplier": 0}],
    )
    def test_terms_that_claim_nothing_for_patients(self, change: dict[str, Any]) -> None:
        with pytest.raises(InputError):
            read_settings(json.dumps({"privacy": {**SUMS, **change}, "work": {}}))

    @pytest.mark.parametrize("missing", ["sample_rate", "steps"])
    def test_dp_sgd_without_its_numbers(self, missing: str) -> None:
        with pytest.raises(InputError, match=missing):
            read_settings(json.dumps({"privacy": {**DP_SGD, missing: None}, "work": {}}))


def test_what_a_message_must_bring_is_stated() -> None:
    assert input_arrays(COUNT) == {}
    assert input_arrays(GLM) == {("arrays", "coefficients"): (2,)}
    assert sum(int(np.prod(s)) for s in input_arrays(MODEL).values()) == Network(MODEL).width
    assert not ExactNoise().seeded
