"""Clocks: from betas to years, and how they are asked for, saved and read again.

A clock reads some CpGs of a panel (`columns`, ascending) and fills a missing value with the pooled mean of that CpG.

* `LinearClock`: age = F^-1(intercept + sum of coef x beta), the result of the elastic net, plain or adapted;
* `MlpClock`: age = F^-1(y_centre + y_scale x network((beta - centre) / scale)).

F is Horvath's transform. One run may make both; they are saved together, the arrays under ``NAME/...``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from flame_strategies.output import load_model, save_model

from methylation_age import horvath
from methylation_age.errors import InputError
from methylation_age.panel import load_panel

Float = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

ELASTIC_NET, MLP, ADAPTED = "elastic-net", "mlp", "adapted"


class Clock(Protocol):
    """What both kinds have in common."""

    columns: Indices
    centre: Float

    def predict(self, betas: Float) -> Float:
        """(n,) years from (n, q) betas of the clock's own columns, NaN where missing."""

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays a DIZ needs to apply the clock, beside `config`."""

    def config(self) -> dict[str, Any]:
        """The settings a DIZ needs to apply the clock, as a message's config record takes them."""


@dataclass(frozen=True, eq=False)
class LinearClock:
    """A linear clock over q CpGs.

    Attributes:
        columns: (q,) indices into the panel.
        coef: (q,) per unit of beta, on the transformed scale.
        intercept: On the transformed scale.
        centre: (q,) pooled mean betas.
    """

    columns: Indices
    coef: Float
    intercept: float
    centre: Float

    def predict(self, betas: Float) -> Float:
        """See `Clock`."""
        filled = np.where(np.isnan(betas), self.centre, betas)
        return horvath.inverse(filled @ self.coef + self.intercept)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """See `Clock`."""
        return {"coef": self.coef, "intercept": np.array([self.intercept])}

    def config(self) -> dict[str, Any]:
        """See `Clock`."""
        return {"model": ELASTIC_NET, "columns": self.columns.tolist(), "centre": self.centre.tolist()}


@dataclass(frozen=True, eq=False)
class MlpClock:
    """A network over q CpGs.

    Attributes:
        columns: (q,) indices into the panel.
        centre: (q,) pooled mean betas.
        scale: (q,) pooled standard deviations.
        y_centre: Pooled mean of the transformed age.
        y_scale: Pooled standard deviation of the transformed age.
        arrays: The network's weights by name.
        recipe: Values of `mlp.Recipe`, which fixes the architecture.
    """

    columns: Indices
    centre: Float
    scale: Float
    y_centre: float
    y_scale: float
    arrays: Mapping[str, npt.NDArray[Any]]
    recipe: Mapping[str, float]

    def predict(self, betas: Float) -> Float:
        """See `Clock`."""
        from methylation_age import mlp  # noqa: PLC0415 -- torch, only for the MLP

        z = np.nan_to_num((betas - self.centre) / self.scale, nan=0.0)
        value = mlp.predict(self.arrays, z, mlp.Recipe(**self.recipe))
        return horvath.inverse(value * self.y_scale + self.y_centre)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """See `Clock`."""
        return dict(self.arrays)

    def config(self) -> dict[str, Any]:
        """See `Clock`."""
        return {
            "model": MLP,
            "columns": self.columns.tolist(),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "y-centre": self.y_centre,
            "y-scale": self.y_scale,
        }


def save_clocks(folder: Path, clocks: Mapping[str, Clock], panel: str, training: Mapping[str, Any]) -> None:
    """Write ``model.safetensors`` and ``model.json``.

    Args:
        folder: An existing folder.
        clocks: By name (`ELASTIC_NET`, `MLP`), the main one first.
        panel: Name of the panel.
        training: What is worth knowing of the training by clock; JSON values.
    """
    cpgs = load_panel(panel).cpgs
    arrays: dict[str, npt.NDArray[Any]] = {}
    described: dict[str, Any] = {}
    for name, clock in clocks.items():
        arrays |= {f"{name}/weights/{key}": value for key, value in clock.weights().items()}
        arrays[f"{name}/columns"] = np.asarray(clock.columns, dtype=np.int64)
        arrays[f"{name}/centre"] = clock.centre
        described[name] = {"cpgs": [cpgs[column] for column in clock.columns], "training": training.get(name, {})}
        if isinstance(clock, MlpClock):
            arrays[f"{name}/scale"] = clock.scale
            described[name] |= {"y_centre": clock.y_centre, "y_scale": clock.y_scale, "recipe": dict(clock.recipe)}
    metadata = {
        "app": "methylation-age",
        "panel": panel,
        "predicts": "chronological age in years, through Horvath's transform with adult age 20",
        "missing_values": "filled with centre",
        "clocks": described,
    }
    save_model(folder, arrays, metadata)


def load_clocks(path: Path) -> tuple[dict[str, Clock], dict[str, Any]]:
    """The clocks of a run by name, the main one first, and the model's metadata.

    Raises:
        InputError: `path` is no model of this app.
    """
    try:
        arrays, metadata = load_model(path)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is not there; give the model.json of a run.") from None
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from None
    if metadata.get("app") != "methylation-age":
        raise InputError(f"{path} is a model of another app; give the model.json of a methylation-age run.")
    clocks: dict[str, Clock] = {}
    for name, described in metadata["clocks"].items():
        prefix = f"{name}/weights/"
        weights = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        columns, centre = arrays[f"{name}/columns"].astype(np.intp), arrays[f"{name}/centre"]
        if "coef" in weights:
            clocks[name] = LinearClock(columns, weights["coef"], float(weights["intercept"][0]), centre)
        else:
            y_centre, y_scale = described["y_centre"], described["y_scale"]
            scale, recipe = arrays[f"{name}/scale"], described["recipe"]
            clocks[name] = MlpClock(columns, centre, scale, y_centre, y_scale, weights, recipe)
    return clocks, metadata
