"""Views in memory, and integer sums of them: what the tests of vetted code share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_vetted import dp_sgd, formulas
from flame_vetted.cohort import People, RowsOf
from flame_vetted.sums import integer_sum

from flame_fl.contract.vetted_terms import DpSgd, Sums


@dataclass(frozen=True)
class MadeView:
    """Columns by name; the further tables' are in `features`."""

    patients: Sequence[str | None]
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    features: tuple[str, ...] = ()

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        values = np.array(self.columns[name], dtype=np.float64)
        return np.where(np.isfinite(values), values, np.nan)

    def words(self, name: str) -> list[str | None]:
        return list(self.texts[name])

    def without(self, patient: str) -> "MadeView":
        """The neighbour: this patient's records are gone, everything else is as it was."""
        keep = [i for i, p in enumerate(self.patients) if p != patient]

        def cut(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
            return {name: [values[i] for i in keep] for name, values in columns.items()}

        return MadeView([self.patients[i] for i in keep], cut(self.columns), cut(self.texts), self.features)

    def only(self, patient: str) -> "MadeView":
        """The patient alone."""
        view = self
        for other in set(self.patients) - {patient, None}:
            view = view.without(str(other))
        return view


def sums(formula: Mapping[str, Any], **fields: Any) -> Sums:
    return Sums.model_validate({"kind": "sums", "store": "cohort", "formula": formula, **fields})


def columns(*names: str, low: float = -3.0, high: float = 3.0, **fields: Any) -> dict[str, Any]:
    return {"names": names, "low": low, "high": high, **fields}


def model(*layers: Mapping[str, Any], **fields: Any) -> DpSgd:
    stated: dict[str, Any] = {
        "kind": "dp-sgd",
        "store": "cohort",
        "features": [columns("a", "b", "c", fill=0.0)],
        "task": "regression",
        "target": columns("y", fill=0.0),
        "layers": layers or [{"kind": "linear", "inputs": 3, "outputs": 1}],
        "learning_rate": 0.1,
        "expected_patients": 10,
    }
    return DpSgd.model_validate({**stated, **fields})


def everybody(people: People) -> npt.NDArray[np.int64]:
    return np.arange(len(people), dtype=np.int64)


def whole_sum(people: People, rows_of: RowsOf, width: int, clip_norm: float) -> npt.NDArray[np.int64]:
    return integer_sum(people, everybody(people), rows_of, width, clip_norm)


def sum_of(work: Sums, view: MadeView, clip_norm: float, coefficients: Any = None) -> npt.NDArray[np.int64]:
    prepared = formulas.prepare(work, view, coefficients)
    return whole_sum(prepared.people, prepared.rows_of, prepared.width, clip_norm)


def gradient_sum(work: DpSgd, view: MadeView, weights: Any, clip_norm: float) -> npt.NDArray[np.int64]:
    """Of one step whose batch is everybody."""
    trainer = dp_sgd.prepare(work, view)
    return whole_sum(
        trainer.people, lambda records: trainer.gradients_of(weights, records), trainer.network.width, clip_norm
    )


def squared_norm(q: npt.NDArray[np.int64]) -> int:
    return sum(int(x) ** 2 for x in q.tolist())
