"""The two-step method beside BOLT-LMM (Loh et al., Nature Genetics 47, 2015) on pooled synthetic data.

The models differ (BOLT-LMM's infinitesimal one has variance components by REML, and leaves a chromosome out of a mixed
model), so tests are alike and not equal.
"""

import subprocess

import numpy as np
import pandas as pd
import pytest
from gwas import two_step_run
from gwas.pca_run import principal_components

from tests.use_cases.gwas.plink_files import MemoryHub, program, rows, settings_of
from tests.use_cases.gwas.structure_study import checked, exchange_of, inflation, structured

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def bolt(study, folder) -> pd.DataFrame:
    """Its infinitesimal model's tests by variant."""
    stem = study.write(folder / "all")
    sheet = study.sheet
    files = pd.DataFrame({"FID": 0, "IID": sheet["iid"], "y": sheet["y"], "age": sheet["age"]})
    files.to_csv(folder / "sheet.txt", sep=" ", index=False)
    command = [program("bolt"), "--bfile", str(stem), "--lmmInfOnly", "--LDscoresUseChip", "--numThreads", "1"]
    command += ["--phenoFile", str(folder / "sheet.txt"), "--phenoCol", "y"]
    command += ["--covarFile", str(folder / "sheet.txt"), "--qCovarCol", "age", "--statsFile", str(folder / "stats")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return pd.read_csv(folder / "stats", sep="\t").set_index("SNP").loc[list(study.panel.id)]


def test_tests_are_about_those_of_a_mixed_model(tmp_path):
    """On siblings of two populations, where linear regression's are not."""
    study, causal = structured(families=400, children=2, variants=4_000, seed=11, fst=0.02, shift=0.6, heritability=0.6)
    asked = settings_of(analysis="two-step", pcs=1, ridge=(0.01, 0.25, 0.5, 0.75, 0.99), ld_step=25, seed=5)
    exchange, quality = exchange_of(study.sites(tmp_path), asked), checked(study.calls)
    hub = MemoryHub(object(), exchange.sites, asked, study.panel, 1, 1.0, tmp_path / "run", exchange=exchange)
    ours = rows(two_step_run.run(hub, quality, principal_components(hub, quality)))
    theirs = bolt(study, tmp_path)

    t, z = ours["stat"].to_numpy(), (theirs["BETA"] / theirs["SE"]).to_numpy()
    sign = np.where(theirs["ALLELE1"] == study.panel.alt, 1, -1)
    assert np.corrcoef(t, sign * z)[0, 1] > 0.9
    assert np.corrcoef(ours["log10p"], z**2)[0, 1] > 0.9
    assert abs(inflation(t[~causal]) - inflation(z[~causal])) < 0.1
    power, their_power = ((s[causal] ** 2).mean() / inflation(s[~causal]) for s in (t, z))
    assert power > 0.9 * their_power
