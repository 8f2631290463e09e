"""Where a ServerApp leaves what it made: model, report and plots below one folder.

The folder is the environment variable ``FLAME_OUT`` (``/out`` where it is not set). A file appears under its
name only when it is complete: it is written beside, flushed to disk and then renamed, so that a run which is
killed leaves the old file or the new one. `save_model` writes the weights before the description, which
carries their SHA-256, and `load_model` checks it: a description therefore never speaks of other weights.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> _ = save_model(folder, {"coef": np.array([1.0, 2.0])}, {"kind": "linear"})
>>> arrays, metadata = load_model(folder)
>>> arrays["coef"].tolist(), metadata["kind"]
([1.0, 2.0], 'linear')
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

MODEL_SCHEMA = 1
_WEIGHTS = "model.safetensors"
_DESCRIPTION = "model.json"
_REPORT_KEYS = frozenset({"title", "data_note", "synthetic", "headline", "figures", "tables", "notes"})


def output_folder() -> Path:
    """The folder for this run's artefacts, made if it is not there."""
    folder = Path(os.environ.get("FLAME_OUT") or "/out")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_model(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any]) -> Path:
    """Write ``model.safetensors`` and ``model.json`` into `folder`.

    Args:
        folder: An existing folder.
        arrays: The model's arrays by name, of any numeric dtype and shape.
        metadata: What a reader needs to use the arrays (units, feature names, how it was trained). JSON
            values only.

    Returns:
        The path of ``model.json``.

    Raises:
        ValueError: `metadata` holds something JSON cannot say, NaN and infinity included.
    """
    # safetensors writes the memory as it lies: a transposed view would be saved wrongly.
    weights = save({name: array.astype(array.dtype.newbyteorder("="), order="C") for name, array in arrays.items()})
    description = {
        "schema": MODEL_SCHEMA,
        "weights": {"file": _WEIGHTS, "sha256": hashlib.sha256(weights).hexdigest()},
        "arrays": {
            name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in sorted(arrays.items())
        },
        "metadata": dict(metadata),
    }
    text = _json(description, "the model's metadata")
    write_atomically(folder / _WEIGHTS, weights)
    write_atomically(folder / _DESCRIPTION, text)
    return folder / _DESCRIPTION


def load_model(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read what `save_model` wrote.

    Args:
        path: The folder, or the path of its ``model.json``.

    Returns:
        The arrays by name, and the metadata.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ValueError: The description is not one of ours, or the weights are not those it describes.
    """
    description_path = path / _DESCRIPTION if path.is_dir() else path
    try:
        description = json.loads(description_path.read_bytes())
        schema, weights_entry = description["schema"], description["weights"]
        name, digest, metadata = weights_entry["file"], weights_entry["sha256"], description["metadata"]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{description_path} is not a model description; give the model.json of a run.") from error
    if schema != MODEL_SCHEMA:
        raise ValueError(f"{description_path} has schema {schema!r}; this version reads schema {MODEL_SCHEMA}.")
    if name != _WEIGHTS:  # a description cannot point the reader at another file
        raise ValueError(f"{description_path} names weights other than {_WEIGHTS}.")
    weights_path = description_path.with_name(_WEIGHTS)
    weights = weights_path.read_bytes()
    if hashlib.sha256(weights).hexdigest() != digest:
        raise ValueError(f"{weights_path} is not the file that {description_path.name} describes; copy both again.")
    try:
        return load(weights), metadata
    except SafetensorError as error:
        raise ValueError(f"{weights_path} is not a safetensors file.") from error


def write_report_json(folder: Path, report: Mapping[str, Any]) -> Path:
    """Write ``report.json``, from which the run's report is rendered.

    Args:
        folder: An existing folder; figures are named relative to it.
        report: Any of ``title``, ``data_note``, ``headline``, ``figures``, ``tables``, ``notes``.

    Returns:
        The path of the file.

    Raises:
        ValueError: An unknown key, a figure that is not there, or a value JSON cannot say.
    """
    if unknown := sorted(set(report) - _REPORT_KEYS):
        raise ValueError(f"A report has no {', '.join(unknown)}; its keys are {', '.join(sorted(_REPORT_KEYS))}.")
    for figure in report.get("figures", ()):
        if not (folder / figure["file"]).is_file():
            raise ValueError(f"The report shows {figure['file']}, which is not in {folder}; write the figure first.")
    text = _json(dict(report), "the report")
    write_atomically(folder / "report.json", text)
    return folder / "report.json"


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` under `path` so that a reader finds the old file, or the whole new one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes it the owner's alone; results are read by others
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _json(value: object, what: str) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"JSON cannot hold {what}: {error}.") from error
    return text.encode() + b"\n"
