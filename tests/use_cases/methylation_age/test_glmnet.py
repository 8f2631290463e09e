"""R's glmnet as an oracle of its own: another program, another language, the same objective.

Needs Rscript with glmnet (Debian: r-base-core, r-cran-glmnet). glmnet standardises y by itself and scales the penalty
back, so equal penalties are given for a y of unit variance.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from flame_strategies.elastic_net import ElasticNetPath, fit_elastic_net
from flame_strategies.in_memory import InMemorySites, SiteRows
from methylation_age import baselines
from methylation_age.cohort import Cohort, load_store

pytestmark = [pytest.mark.peer, pytest.mark.slow]

Float = npt.NDArray[np.float64]
SCRIPT = Path(__file__).with_name("glmnet_path.R")


@pytest.fixture(scope="module")
def rscript() -> str:
    program = shutil.which("Rscript") or ""
    if not program or subprocess.run([program, "-e", "library(glmnet)"], capture_output=True, check=False).returncode:
        text = "Rscript with glmnet is not installed: apt-get install r-base-core r-cran-glmnet"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    return program


def glmnet(program: str, rows: baselines.Standardised, penalty: float, l1_ratio: float, folder: Path) -> Float:
    (folder / "z.bin").write_bytes(rows.z.tobytes(order="F"))
    (folder / "y.bin").write_bytes(rows.y.tobytes())
    z, y, out = (str(folder / name) for name in ("z.bin", "y.bin", "out.bin"))
    arguments = [z, y, str(len(rows.y)), repr(penalty), repr(l1_ratio), out]
    subprocess.run([program, str(SCRIPT), *arguments], check=True, capture_output=True)
    return np.fromfile(out)


def federated(cohorts: list[Cohort]) -> tuple[ElasticNetPath, baselines.Standardised]:
    sites = [SiteRows(cohort.betas, cohort.target, cohort.patient_ids) for cohort in cohorts]
    path = fit_elastic_net(InMemorySites(sites), l1_ratio=0.5, num_lambdas=25, lambda_min_ratio=0.01, folds=5)
    return path, baselines.Standardised.of(cohorts)


@pytest.mark.parametrize("cpgs", [300, 7503])
def test_federated_solution_is_glmnet_s(rscript: str, brain: Path, tmp_path: Path, cpgs: int) -> None:
    """At the chosen penalty: the same CpGs, and coefficients within 1e-6 of the largest."""
    step = 7503 // cpgs
    cohorts = []
    for number in range(1, 6):
        train = load_store(brain / f"DIZ-{number}" / "methylation", "gse74193").train
        cohorts.append(Cohort(train.betas[:, ::step][:, :cpgs], train.age, train.target, train.patient_ids))
    path, rows = federated(cohorts)
    chosen = path.best_one_se
    ours = path.coefficients[chosen]
    theirs = glmnet(rscript, rows, float(path.lambdas[chosen]), 0.5, tmp_path)
    np.testing.assert_array_equal(ours != 0, theirs != 0)
    assert np.abs(ours - theirs).max() <= 1e-6 * np.abs(theirs).max()
