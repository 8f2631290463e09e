"""Coalescent populations (synthetic): inflated tests, and what principal components do about it.

msprime runs as a program of its own, installed into a temporary folder; nothing here imports it.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flame_strategies.block_krylov import subspace_angle
from gwas import linear_run
from gwas.pca_run import principal_components

from tests.use_cases.gwas.plink_files import MemoryHub, Study, panel_of, plink, read_plink, rows, settings_of
from tests.use_cases.gwas.structure_study import checked, exchange_of, inflation, standardised

pytestmark = [pytest.mark.slow, pytest.mark.peer]

MSPRIME = "msprime==1.4.4"
SCRIPT = Path(__file__).with_name("populations_msprime.py")
REACH = 100
"""Variants further apart are hardly linked."""

TRAITS = 8
"""Drawn anew on the same genotypes: variants go together, so one trait's lambda is off by 0.06 by chance alone."""


@pytest.fixture(scope="module")
def populations(tmp_path_factory) -> dict[str, np.ndarray]:
    """Three populations from msprime; see the script."""
    folder = tmp_path_factory.mktemp("msprime")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "lib"), MSPRIME]
    done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        text = f"{MSPRIME} cannot be installed here: pip install {MSPRIME} needs a package index"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    environment = {**os.environ, "PYTHONPATH": str(folder / "lib"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder / "out.npz"), "3", "500", "5"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)
    with np.load(folder / "out.npz") as made:
        return dict(made)


def study_of(made: dict[str, np.ndarray], seed: int) -> tuple[Study, np.ndarray]:
    """A trait with 30 causal variants whose mean differs between populations, unequally mixed at five DIZ.

    Returns:
        The study, and which variants are not linked with a causal one.
    """
    rng = np.random.default_rng(seed)
    calls, population, chromosome = (made[name] for name in ("calls", "population", "chromosome"))
    n = len(population)
    causal = np.sort(rng.choice(calls.shape[1], 30, replace=False))
    frequency = calls[:, causal].mean(axis=0) / 2
    value = (calls[:, causal] - 2 * frequency) / np.sqrt(2 * frequency * (1 - frequency)) @ rng.normal(size=30)
    for group in range(3):
        value[population == group] -= value[population == group].mean()
    age = np.round(rng.uniform(20, 80, n), 1)
    y = np.sqrt(0.4) * value / value.std() + np.sqrt(0.6) * rng.normal(size=n) + np.array([0, 0.5, -0.4])[population]
    shares = np.random.default_rng(0).dirichlet(np.ones(5), 3)
    site = np.array([np.random.default_rng(row).choice(5, p=shares[group]) for row, group in enumerate(population)])
    sex = np.random.default_rng(1).integers(1, 3, n)
    sheet = pd.DataFrame({"iid": [f"S{row}" for row in range(n)], "sex": sex, "y": y, "age": age, "site": site})
    places = np.arange(calls.shape[1])
    far = np.abs(places[:, None] - causal).min(axis=1) > REACH
    return Study(np.ascontiguousarray(calls), panel_of(chromosome.tolist()), sheet), far


def test_inflation_and_components(populations, tmp_path):
    """Uncorrected tests are inflated, with two components they are not; and these are the pooled ones, and PLINK's."""
    tested: dict[int, list[np.ndarray]] = {0: [], 2: []}
    components = None
    for seed in range(TRAITS):
        study, far = study_of(populations, seed)
        sites, quality = study.sites(tmp_path), checked(study.calls)
        for pcs, found in tested.items():
            asked = settings_of(pcs=pcs)
            exchange = exchange_of(sites, asked)
            folder = tmp_path / f"{seed}-{pcs}"
            hub = MemoryHub(object(), exchange.sites, asked, study.panel, 1, 1.0, folder, exchange=exchange)
            components = components or principal_components(hub, quality)
            table = rows(linear_run.run(hub, quality, components if pcs else None))
            found.append(table["stat"][far[table.index]].to_numpy())
    assert inflation(np.concatenate(tested[0])) >= 1.1
    assert 0.95 <= inflation(np.concatenate(tested[2])) <= 1.05

    assert components is not None
    assert components.converged
    X = standardised(study.calls, components.variants)
    assert subspace_angle(components.loadings, np.linalg.svd(X, full_matrices=False)[2][:2].T) <= 1e-6
    stem = study.write(tmp_path / "all")
    (tmp_path / "kept").write_text("\n".join(study.panel.id[components.variants.index]))
    plink("plink2", stem, "--pca", "2", "--extract", str(tmp_path / "kept"))
    theirs = read_plink(stem.with_suffix(".eigenvec"))
    ours = X @ components.loadings
    for number in range(2):
        assert abs(np.corrcoef(ours[:, number], theirs[f"PC{number + 1}"])[0, 1]) > 1 - 1e-8
