"""Writes combat_*.csv: what neuroCombat 0.2.12 makes of made-up values, batches and a covariate.

    pip install --no-deps --target FOLDER neuroCombat==0.2.12
    PYTHONPATH=FOLDER python neurocombat.py

The program ends its empirical Bayes loop at a relative change of 1e-4; here it goes on to 1e-13, so that what it finds
does not depend on where it starts.
"""

import functools
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent


def main() -> None:
    """Make the values and let the program adjust them."""
    rng = np.random.default_rng(20260101)
    batch = np.repeat([1, 2, 3, 4], [14, 9, 20, 11])
    covariate = np.round(8 * rng.normal(batch, 1.5)) / 8  # the program holds covariates in single precision
    f = 12
    values = 5 + np.outer(covariate, rng.normal(size=f)) + rng.normal(size=(len(batch), f)) * rng.uniform(0.5, 2, f)
    for one in (1, 2, 3, 4):
        rows = batch == one
        values[rows] = values[rows] * rng.uniform(0.6, 1.6, f) + rng.normal(one, 1, f)
    values = np.round(values, 4)
    program = import_module("neuroCombat.neuroCombat")  # the package has a function of this name
    program.it_sol = functools.partial(program.it_sol, conv=1e-13)
    adjusted = program.neuroCombat(
        values.T, pd.DataFrame({"batch": batch, "x": covariate}), "batch", continuous_cols=["x"]
    )["data"].T
    for name, array in (("values", values), ("batch", batch), ("covariate", covariate), ("adjusted", adjusted)):
        np.savetxt(HERE / f"combat_{name}.csv", array, delimiter=",", fmt="%.17g")


if __name__ == "__main__":
    main()
