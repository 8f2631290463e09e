"""`compare`: a run beside models of the pooled rows without noise. Outside the gate, for simulations only.

The run itself measures nothing, because on real patients a measurement is a release of its own and has to be paid for.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flame_strategies.output import load_model, write_report_json
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from multimodal_imaging_private import terms
from multimodal_imaging_private.errors import InputError
from multimodal_imaging_private.predict import predict, saliency
from multimodal_imaging_private.prepare import HELD_OUT, STAMP
from multimodal_imaging_private.price import price_entries
from multimodal_imaging_private.volumes import Float, names

OUTSIDE = "outside the gate, simulation only"
SALIENCY = "plots/saliency.png"
_PENALTY = 100.0


def pooled_rows(data: Path) -> pd.DataFrame:
    """What all DIZ were given.

    Raises:
        InputError: The folder is not one of `prepare`.
    """
    if not (data / HELD_OUT).is_file() or not (data / STAMP).is_file():
        raise InputError(f"{data} was not written by `prepare`; give its --out.")
    found = []
    for folder in sorted(data.glob("DIZ-*/scans")):
        patients, voxels = (pd.read_parquet(folder / f"{name}.parquet") for name in ("patients", "voxels"))
        found.append(patients.merge(voxels, on="patient_id", validate="one_to_one"))
    return pd.concat(found)


def ridge_error(rows: pd.DataFrame, test: pd.DataFrame) -> float:
    """Mean absolute error in years of a ridge regression on the pooled voxels, without noise."""
    x, y = rows[names()].to_numpy(dtype=np.float64), rows["age"].to_numpy()
    x_mean, y_mean = x.mean(axis=0), float(y.mean())
    centred = (x - x_mean) / terms.SCALE
    beta = np.linalg.solve(centred.T @ centred + _PENALTY * np.eye(x.shape[1]), centred.T @ (y - y_mean))
    told = (test[names()].to_numpy(dtype=np.float64) - x_mean) / terms.SCALE @ beta + y_mean
    return float(np.abs(told - test["age"]).mean())


def score(run: Path, data: Path) -> dict[str, float]:
    """Mean absolute errors in years on held-out patients: the network's, and that of guessing the mean age.

    Raises:
        InputError: One of the folders is not what it should be.
    """
    rows = pooled_rows(data)
    arrays = trained(run)
    test = pd.read_parquet(data / HELD_OUT)
    age = test["age"].to_numpy()
    told = predict(arrays, test[names()].to_numpy())
    return {
        "mae": float(np.abs(told - age).mean()),
        "guess": float(np.abs(age - rows["age"].mean()).mean()),
        "r": float(np.corrcoef(told, age)[0, 1]),
    }


def trained(run: Path) -> dict[str, terms.Float32]:
    """The network of a run.

    Raises:
        InputError: There is none.
    """
    try:
        arrays, _ = load_model(run)
    except (FileNotFoundError, ValueError):
        raise InputError(f"{run} is no finished run; give the folder of `flame simulate`.") from None
    return {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}


def compare(run: Path, data: Path) -> dict[str, float]:
    """Score the run, and add that, a saliency picture and the measured price of noise to its report."""
    found = score(run, data)
    test = pd.read_parquet(data / HELD_OUT)
    found["ridge"] = ridge_error(pooled_rows(data), test)
    draw_saliency(run / SALIENCY, saliency(trained(run), test[names()].to_numpy()), len(test))
    report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    synthetic = bool(json.loads((data / STAMP).read_text(encoding="utf-8"))["synthetic"])
    report["synthetic"] = synthetic
    report["data_note"] = "Synthetic volumes: drawings, not anatomy." if synthetic else "Images of one's own."
    note = f"guessing the mean age {found['guess']:.1f}, ridge on pooled rows, no noise {found['ridge']:.1f}; {OUTSIDE}"
    headline = [{"label": "Mean absolute error", "value": f"{found['mae']:.1f} years", "note": note}]
    figures, tables = price_entries(run, OUTSIDE)
    caption = (
        f"Mean over {len(test)} held-out patients of |gradient x intensity|, in the middle of each axis; {OUTSIDE}."
    )
    figures = [{"file": SALIENCY, "title": "Where the network looks", "caption": caption}, *figures]
    for key, name, new in (("headline", "label", headline), ("figures", "file", figures), ("tables", "title", tables)):
        added = {entry[name] for entry in new}
        report[key] = [entry for entry in report.get(key, []) if entry[name] not in added] + new
    write_report_json(run, report)
    return found


def draw_saliency(file: Path, picture: Float, patients: int) -> None:
    """Three slices of it, as PNG."""
    figure = Figure(figsize=(7.5, 2.8), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    for axis, axes in enumerate(figure.subplots(1, 3)):
        middle = np.take(picture, picture.shape[axis] // 2, axis=axis)
        axes.imshow(middle.T, origin="lower", cmap="magma", vmin=0.0, vmax=float(picture.max()))
        axes.set_title(("sagittal", "coronal", "axial")[axis], fontsize=9)
        axes.set_axis_off()
    figure.suptitle(f"Mean of {patients} patients", fontsize=9)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Software": None})
