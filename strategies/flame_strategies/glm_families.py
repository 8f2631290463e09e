"""What differs between linear, logistic and Poisson regression at the hub.

`Totals` is what the sites' four sums of the outcome say: enough for the checks, for the intercept to start from, and
for the deviance of the null model, which therefore costs no exchange.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from flame_strategies.errors import UnusableReply
from flame_strategies.glm_design import Design, DesignError, Scaling, Separated

Family = Literal["gaussian", "logistic", "poisson"]

_WORDS = {
    "gaussian": "",
    "logistic": "outcomes that are not 0 or 1",
    "poisson": "outcomes that are not whole numbers of at least 0",
}


@dataclass(frozen=True)
class Totals:
    """Sums over all complete rows.

    Attributes:
        n: Rows.
        y: Of the outcome; of (outcome - offset - centre) / scale in a linear regression.
        yy: Of its square.
        exposure: Of e^offset; n in the other families.
        saturated: Of y log(y / e^offset); 0 in the other families.
    """

    n: int
    y: float
    yy: float
    exposure: float
    saturated: float

    @classmethod
    def of(cls, sums: Mapping[str, Any]) -> "Totals":
        """From ``n`` (1,) and ``outcome`` (4,)."""
        if "outcome" not in sums or np.shape(sums["outcome"]) != (4,):
            raise UnusableReply("The sites answer without outcome (4,); check the ClientApp.")
        return cls(int(sums["n"][0]), *(float(value) for value in sums["outcome"]))

    def rate(self) -> float:
        """The Poisson rate per exposure, without columns."""
        return self.y / self.exposure

    def null_deviance(self, family: Family, design: Design) -> float | None:
        """Deviance of the model with an intercept only; None where it would take a fit of its own."""
        if not design.intercept:
            return None
        if family == "gaussian":
            return self.yy - self.y**2 / self.n
        if family == "poisson":
            return 2 * (self.saturated - self.y * math.log(self.rate())) if self.y else 0.0
        if design.offset or design.exposure:
            return None
        return -2 * sum(count * math.log(count / self.n) for count in (self.y, self.n - self.y) if count > 0)


def must_fit(family: Family, design: Design, sums: Mapping[str, Any]) -> None:
    """Complain about an outcome that the family cannot explain.

    Args:
        family: Which.
        design: For the names.
        sums: The answers to ``query.glm_moments``.

    Raises:
        DesignError: No rows, values that the family does not have, or the same outcome in all rows.
    """
    totals, invalid = Totals.of(sums), int(sums["invalid"][0])
    if invalid:
        kinds = [_WORDS[family]] if _WORDS[family] else []
        kinds += [f"values of {design.exposure} that are not above 0"] if design.exposure else []
        raise DesignError(f"There are {invalid} {' or '.join(kinds)}; filter the rows, or choose another family.")
    if totals.n < 1:
        raise DesignError("No row of any site has all of the design's columns; check their names and filters.")
    same = {
        "gaussian": totals.yy - totals.y**2 / totals.n <= 1e-14 * totals.yy,
        "logistic": totals.y in (0, totals.n),
        "poisson": totals.y == 0,
    }
    if same[family]:
        raise DesignError(f"{design.outcome} is the same in all complete rows of all sites; there is nothing to learn.")


def must_differ(family: Family, design: Design, sums: Mapping[str, Any]) -> None:
    """Complain about a level whose rows all have the same outcome.

    Raises:
        Separated: There is one, and so no finite coefficient.
    """
    if family == "gaussian" or not design.intercept:
        return
    totals = Totals.of(sums)
    counts = design.level_sums(np.asarray(sums["sum_x"]), totals.n)
    with_outcome = design.level_sums(np.asarray(sums["sum_xy"]), totals.y)
    alike = [
        name
        for name, count in counts.items()
        if with_outcome[name] < 0.5 or (family == "logistic" and with_outcome[name] > count - 0.5)
    ]
    if alike:
        raise Separated(
            f"All rows with the level {', '.join(alike)} have the same {design.outcome}, so its coefficient has no "
            "finite value. Join the level with another, or fit with a penalty."
        )


def scaling_of(family: Family, design: Design, sums: Mapping[str, Any]) -> Scaling:
    """How the sites scale columns and outcome, from the answers to ``query.glm_moments``."""
    columns = Scaling.of(sums, intercept=design.intercept, centred=design.intercept)
    totals = Totals.of(sums)
    if family == "poisson":
        return Scaling(columns.centre, columns.scale, design.intercept, totals.rate())
    if family == "logistic":
        return columns
    mean = totals.y / totals.n if design.intercept else 0.0
    spread = math.sqrt(max(totals.yy / totals.n - mean**2, 1e-16 * mean**2))
    return Scaling(columns.centre, columns.scale, design.intercept, mean, spread)
