"""Audits of the one count that a claim needs: how many patients there are."""

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_fl.contract.refusal import RefusedError
from flame_fl.gate import cohort_check
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import NodeLimits
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.privacy.audit.worlds import CAP, DELTA, ReadingSandbox, Recorded, V, a_world, answer_of, terms_of
from tests.support.auditing import ALPHA, found
from tests.support.gates import (
    make_fab,
)


class CountStore(Store):
    """A node's store that remembers no decision, notes what was decided, and counts debits without adding them up."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "state.db", durable=False)
        self.debited = 0
        self.decided: list[bool] = []

    def cohort_check(self, digest: str, store: str, binding: str) -> bool | None:
        return None

    def debit(self, *_: Any, **__: Any) -> None:
        self.debited += 1

    def record(self, kind: str, body: Mapping[str, Any]) -> str:
        return ""

    def note_cohort_check(self, digest: str, store: str, binding: str, *, enough: bool, noised: int) -> None:
        self.decided.append(enough)


def audit_count(size: int) -> None:
    """Cohorts of one patient more or less than what passes half the time: the decision tells them apart no better
    than a count of the announced noise would, and every count is debited."""
    least = 50
    one, other = (_decisions(least + cohort_check.MARGIN - less, least, size) for less in (0, 1))
    _require_bit(one, other, 1 / cohort_check.EVENT.multiplier)


def _decisions(patients: int, least: int, size: int) -> npt.NDArray[np.float64]:
    """Whether a cohort of so many was found large enough, `size` times."""
    noise, limits = ExactNoise(), NodeLimits(CAP, DELTA, 5)
    use = SimpleNamespace(
        offer=SimpleNamespace(namespace="patients", binding="b"), cohort=SimpleNamespace(patients=patients)
    )
    terms = SimpleNamespace(project=SimpleNamespace(id="a-project"))
    verified: Any = SimpleNamespace(terms=terms, approved=SimpleNamespace(digest="d"), uses={"cohort": use})
    with TemporaryDirectory() as folder, closing(CountStore(Path(folder))) as store:
        for _ in range(size):
            with suppress(RefusedError):
                cohort_check.require_enough(store, limits, noise, verified, "cohort", least=least)
        if store.debited < size:
            found("a count was not debited")
        return np.array(store.decided, dtype=np.float64)


def _require_bit(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], mu: float) -> None:
    """A yes or no whose two chances a mu-Gaussian-DP mechanism may have: both by Clopper and Pearson."""
    from scipy import stats

    n, k, j = len(one), int(one.sum()), int(other.sum())
    tpr = stats.beta.ppf(ALPHA / 2, k, n - k + 1) if k else 0.0
    fpr = stats.beta.isf(ALPHA / 2, j + 1, n - j) if j < n else 1.0
    if stats.norm.ppf(tpr) - stats.norm.ppf(fpr) > mu:
        found(f"one patient more passes in {k} of {n} cases, one less in {j}: the count's noise is not what it says")


def audit_count_is_made_once() -> None:
    """Three messages, one count: every further one would be another release."""
    noise = Recorded()
    with a_world(ReadingSandbox(lambda data, message: answer_of(V)), noise) as world:
        app = make_fab(terms_of())
        world.decide(app)
        for leg in ("1", "2", "3"):
            world.released(app, leg=leg)
        counted = sum(sigma == (cohort_check.NOISE**2, 1) for sigma, _ in noise.asked)
        debits = sum(entry.leg_id.startswith("cohort") for entry in world.store.ledger())
    if (counted, debits) != (1, 1):
        found(f"{counted} counts, {debits} debits for one analysis")
