"""The weighted elastic net beside R's glmnet with ``penalty.factor``: frozen output always, R where it is installed.

``frozen/weighted_net_rows.csv`` holds made-up betas and an outcome, ``weighted_net_factors.csv`` penalty factors as an
adaptation forms them; ``weighted_net_glmnet.csv`` is what `weighted_net.R` made of them (R 4.2.2, glmnet 4.1-6).
"""

import os
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from flame_strategies.elastic_net import fit_elastic_net
from flame_strategies.in_memory import InMemorySites, SiteRows
from methylation_age.feature_models import weights

HERE = Path(__file__).parent
FROZEN = HERE / "frozen"
LAMBDAS = (0.3, 0.1, 0.03, 0.01)


def read(name: str) -> np.ndarray:
    return np.loadtxt(FROZEN / name, delimiter=",", skiprows=1, ndmin=2)


def federated() -> np.ndarray:
    """(L, p) coefficients of standardised columns, from five sites of unlike size."""
    rows, factors = read("weighted_net_rows.csv"), read("weighted_net_factors.csv")[:, 0]
    ends = np.array([0, 7, 20, 26, 45, len(rows)])
    sites = [
        SiteRows(rows[start:end, :-1], rows[start:end, -1], [f"P{row}" for row in range(start, end)])
        for start, end in pairwise(ends)
    ]
    path = fit_elastic_net(InMemorySites(sites), l1_ratio=0.8, lambdas=LAMBDAS, folds=2, penalty_factors=factors)
    return path.coefficients


def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    """The same support, and coefficients within 1e-7, relative to each."""
    np.testing.assert_array_equal(ours != 0, theirs != 0)
    assert [int(n) for n in (theirs != 0).sum(axis=1)] == sorted((theirs != 0).sum(axis=1))
    assert (theirs != 0).any(axis=1).all()
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=0)


def test_it_is_glmnet_s_frozen() -> None:
    """At four penalties."""
    agree(federated(), read("weighted_net_glmnet.csv").T)


def test_the_frozen_factors_are_weights() -> None:
    """They are what `weights` makes of confidences: an average of 1, some far above."""
    factors = read("weighted_net_factors.csv")[:, 0]
    assert factors.mean() == pytest.approx(1.0)
    assert factors.max() > 2.0
    again = weights(1.0 - (factors / factors.max()) ** (1 / 3))
    np.testing.assert_allclose(again, factors)


@pytest.mark.peer
def test_it_is_glmnet_s_live(tmp_path: Path) -> None:
    """R gives what is frozen, and so do we."""
    program = shutil.which("Rscript") or ""
    if not program or subprocess.run([program, "-e", "library(glmnet)"], capture_output=True, check=False).returncode:
        text = "Rscript with glmnet is not installed: apt-get install r-base-core r-cran-glmnet"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    out = tmp_path / "glmnet.csv"
    given = [str(FROZEN / name) for name in ("weighted_net_rows.csv", "weighted_net_factors.csv")]
    subprocess.run([program, str(HERE / "weighted_net.R"), *given, str(out)], check=True, capture_output=True)
    agree(federated(), np.loadtxt(out, delimiter=",", skiprows=1).T)
