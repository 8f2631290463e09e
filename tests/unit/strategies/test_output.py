"""The run's folder."""

import json

import numpy as np
import pytest
from flame_strategies import load_model, output_folder, save_model, write_report_json
from numpy.testing import assert_array_equal

ARRAYS = {"coef": np.arange(6.0).reshape(2, 3).T, "steps": np.array(3)}


def test_a_model_comes_back_as_it_was_saved(tmp_path):
    """Values, shapes, dtypes and metadata survive, for transposed and scalar arrays too."""
    path = save_model(tmp_path, ARRAYS, {"kind": "linear", "cpgs": ["cg1"]})
    for given in (path, tmp_path):
        arrays, metadata = load_model(given)
        assert metadata == {"kind": "linear", "cpgs": ["cg1"]}
        assert arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert_array_equal(arrays[name], array)
            assert arrays[name].dtype == array.dtype
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_weights_of_another_model_are_noticed(tmp_path):
    """A description does not go with weights it was not written for."""
    save_model(tmp_path, ARRAYS, {})
    old = (tmp_path / "model.safetensors").read_bytes()
    save_model(tmp_path, {"coef": np.zeros(2)}, {})
    (tmp_path / "model.safetensors").write_bytes(old)
    with pytest.raises(ValueError, match=r"not the file that model\.json describes"):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "weights": "x", "metadata": {}}', "\xff"])
def test_a_file_that_is_no_description_is_refused(tmp_path, text):
    """The error names the file."""
    (tmp_path / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"model\.json is not a model description"):
        load_model(tmp_path)


def test_a_description_cannot_point_elsewhere(tmp_path):
    """Weights lie beside their description."""
    save_model(tmp_path, ARRAYS, {})
    text = (tmp_path / "model.json").read_text().replace('"model.safetensors"', '"../other.safetensors"')
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ValueError, match="names weights other than"):
        load_model(tmp_path)


def test_metadata_that_json_cannot_say_leaves_nothing_behind(tmp_path):
    """NaN is refused before anything is written."""
    with pytest.raises(ValueError, match="JSON cannot hold the model's metadata"):
        save_model(tmp_path, ARRAYS, {"mae": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    """A write that breaks off leaves the file before, and no remains."""
    write_report_json(tmp_path, {"title": "old"})
    monkeypatch.setattr("os.fsync", lambda _fd: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report_json(tmp_path, {"title": "new"})
    assert json.loads((tmp_path / "report.json").read_text()) == {"title": "old"}
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_report_shows_only_figures_that_are_there(tmp_path):
    """A missing figure and an unknown key are errors that name them."""
    figure = {"file": "plots/ages.svg", "title": "Ages", "caption": ""}
    with pytest.raises(ValueError, match=r"plots/ages\.svg"):
        write_report_json(tmp_path, {"figures": [figure]})
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots/ages.svg").write_text("<svg/>")
    write_report_json(tmp_path, {"figures": [figure]})
    with pytest.raises(ValueError, match="no figure;"):
        write_report_json(tmp_path, {"figure": []})


def test_the_folder_is_the_runs(tmp_path, monkeypatch):
    """FLAME_OUT decides, and the folder is made."""
    monkeypatch.setenv("FLAME_OUT", str(tmp_path / "run/out"))
    assert output_folder() == tmp_path / "run/out"
    assert output_folder().is_dir()
