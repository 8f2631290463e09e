"""A clock of sixteen CpGs, and the public constants by which everybody standardises."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]

# Of the CpGs of Horvath's clock (Genome Biology 14:R115, 2013) that the packaged cortex set holds, the sixteen with
# the largest published weights, and their mean betas in public 450k arrays (biolearn 0.9.1). The clock is older than
# the set.
PUBLIC_MEANS = {
    "cg01968178": 0.103,
    "cg02388150": 0.204,
    "cg04528819": 0.126,
    "cg06144905": 0.212,
    "cg06361108": 0.045,
    "cg06493994": 0.188,
    "cg06810647": 0.186,
    "cg08370996": 0.093,
    "cg10281002": 0.114,
    "cg12373771": 0.113,
    "cg15547534": 0.049,
    "cg18573383": 0.080,
    "cg19945840": 0.452,
    "cg22736354": 0.213,
    "cg25505610": 0.034,
    "cg26614073": 0.498,
}
CPGS = tuple(PUBLIC_MEANS)
CENTRE = np.array(list(PUBLIC_MEANS.values()))
SCALE = np.round(0.2 * np.sqrt(CENTRE * (1 - CENTRE)), 3)
"""A guess of a beta's spread between people: a fifth of the largest that its mean allows."""
AGE_CENTRE, AGE_SCALE = 40.0, 25.0


def read(file: Path) -> tuple[Floats, Floats]:
    """Standardised CpGs (n, 16) and ages (n,), by public constants."""
    table = pq.ParquetFile(file).read()
    betas = np.column_stack([np.asarray(table[cpg], dtype=np.float64) for cpg in CPGS])
    x = (np.where(np.isnan(betas), CENTRE, betas) - CENTRE) / SCALE
    return x, (np.asarray(table["age"], dtype=np.float64) - AGE_CENTRE) / AGE_SCALE
