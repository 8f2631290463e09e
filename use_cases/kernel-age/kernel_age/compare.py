"""`compare`: a simulated run beside the same fits on the pooled rows, which only a simulation has.

* kernel ridge regression by scikit-learn with the run's gamma and lambda: the answer that the run must give;
* random Fourier features (Rahimi and Recht, NIPS 2007): ridge regression on cos(Wz + b), W and b public. That needs
  sums only, can be masked, and shows no patient to the hub: what it costs in accuracy is what encoded rows buy.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from flame_strategies.output import write_report_json

from kernel_age.cohort import Cohort, inverse, load_store, transform
from kernel_age.errors import InputError
from kernel_age.report import RESULT, build, write_result

FEATURES = (250, 1000, 4000)


def compare(run: Path, data: Path) -> dict[str, Any]:
    """Add the pooled figures to a run's result and report, and return them.

    Args:
        run: The folder of a run.
        data: The folder with the stores of its DIZ.

    Raises:
        InputError: One of the two is not there.
    """
    if not (run / RESULT).is_file():
        raise InputError(f"{run} has no {RESULT}; give the folder of a finished run.")
    result = json.loads((run / RESULT).read_text(encoding="utf-8"))
    stores = [load_store(str(folder)) for folder in sorted(data.glob("*/methylation"))]
    if not stores:
        raise InputError(f"{data} holds no */methylation; give the folder that prepare wrote.")
    train, test = _pooled([store[0] for store in stores]), _pooled([store[1] for store in stores])
    gamma, penalty = float(result["gamma"]), float(result["lambda"])
    pooled = mean_error(test, ridge(train, test, gamma, penalty))
    result["compare"] = {
        "pooled_mae": pooled,
        "difference": abs(pooled - result["test"]["mae"]),
        "fourier_mae": {str(d): mean_error(test, fourier(train, test, gamma, penalty, d)) for d in FEATURES},
        "guess_mae": float(np.abs(test.age - train.age.mean()).mean()),
    }
    write_result(run, result)
    content = build(result)
    content["tables"].append(_table(result))
    write_report_json(run, content)
    return dict(result["compare"])


def ridge(train: Cohort, test: Cohort, gamma: float, penalty: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Predicted transformed ages (m,) by scikit-learn on the pooled rows."""
    from sklearn.kernel_ridge import KernelRidge  # noqa: PLC0415 -- slow, only for this

    model = KernelRidge(kernel="rbf", gamma=gamma, alpha=penalty).fit(train.z, transform(train.age))
    return np.asarray(model.predict(test.z), dtype=np.float64)


def fourier(
    train: Cohort, test: Cohort, gamma: float, penalty: float, features: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The same from `features` random Fourier features of a public seed."""
    drawn = np.random.default_rng(features)
    w = drawn.normal(0.0, np.sqrt(2.0 * gamma), (train.z.shape[1], features))
    b = drawn.uniform(0.0, 2.0 * np.pi, features)
    one, two = (np.sqrt(2.0 / features) * np.cos(cohort.z @ w + b) for cohort in (train, test))
    mixed = np.linalg.solve(one @ one.T + penalty * np.eye(len(one)), transform(train.age))  # fewer rows than features
    return np.asarray(two @ (one.T @ mixed))


def mean_error(test: Cohort, value: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Mean absolute error in years."""
    return float(np.abs(inverse(value) - test.age).mean())


def _pooled(cohorts: list[Cohort]) -> Cohort:
    return Cohort(np.concatenate([one.z for one in cohorts]), np.concatenate([one.age for one in cohorts]))


def _table(result: dict[str, Any]) -> dict[str, Any]:
    found = result["compare"]
    rows = [
        ["kernel ridge, federated", result["test"]["mae"]],
        ["pooled (scikit-learn)", found["pooled_mae"]],
    ]
    rows += [[f"{d} random Fourier features, pooled; needs sums only", mae] for d, mae in found["fourier_mae"].items()]
    rows += [["guess: mean training age", found["guess_mae"]]]
    return {
        "title": "Beside the pooled rows",
        "caption": "Mean absolute error in years. Outside the gate, simulation only.",
        "columns": ["model", "MAE"],
        "rows": [[name, f"{mae:.2f}"] for name, mae in rows],
    }
