"""PLINK 2 beside the federated scan, on data made up anew and on snpStats' chromosome 10."""

import subprocess

import numpy as np
import pandas as pd
import pytest
from gwas.linear_run import run
from gwas.quality_run import run as quality_of

from tests.use_cases.gwas.conftest import need_snpstats
from tests.use_cases.gwas.plink_files import hub_of, made_up, plink, read_plink, rows, settings_of
from tests.use_cases.gwas.test_linear import must_be_plink_s

pytestmark = pytest.mark.peer

COLUMNS = "cols=chrom,pos,ref,alt,a1count,a1freq,nobs,beta,se,tz,p,err"


def both(study, folder, covariates, *modifiers, **changed):
    """Our rows, and PLINK 2's table, for a pooled study."""
    stem = study.write(folder / "pooled", covariates or ("age",))
    given = ["--covar", f"{stem}.cov"] if covariates else []
    glm = ["--glm", "omit-ref", "hide-covar", COLUMNS, *modifiers, *([] if covariates else ["allow-no-covars"])]
    plink("plink2", stem, "--pheno", f"{stem}.phe", *given, *glm)
    hub = hub_of(study.sites(folder), settings_of(covariates=covariates, **changed), folder / "run")
    return rows(run(hub, quality_of(hub), None)), read_plink(folder / "pooled.y.glm.linear")


@pytest.mark.parametrize("seed", [1, 2])
def test_autosomes_x_and_mitochondria(tmp_path, seed):
    """PLINK's own `sex` everywhere is our covariate sex."""
    rng = np.random.default_rng(seed)
    codes = np.sort(rng.choice([1, 2, 22, 23, 25, 26], 150))
    study = made_up(300, 150, seed, chromosome=codes.tolist(), missing=0.04)
    must_be_plink_s(*both(study, tmp_path, ("age", "sex"), "no-x-sex", chunk=64))


def test_y_is_of_males_and_without_sex(tmp_path):
    study = made_up(300, 40, 3, chromosome=[1] * 20 + [24] * 20, missing=0.04)
    must_be_plink_s(*both(study, tmp_path, ("age",), "no-x-sex"))


def test_without_covariates_and_without_missing_calls(tmp_path):
    study = made_up(200, 60, 4, missing=0.0)
    must_be_plink_s(*both(study, tmp_path, (), "no-x-sex"))


def test_many_calls_missing_and_samples_without_phenotype_or_covariate(tmp_path):
    study = made_up(200, 60, 5, missing=0.4)
    study.sheet.loc[::9, "y"] = np.nan
    study.sheet.loc[::7, "age"] = np.nan
    must_be_plink_s(*both(study, tmp_path, ("age",), "no-x-sex"))


def test_swapped_alleles_at_a_diz_do_not_show(tmp_path):
    """Pooled files, as PLINK needs them, have one allele counted everywhere."""
    study = made_up(200, 60, 6, missing=0.02)
    _, table = both(study, tmp_path, ("age",), "no-x-sex")
    hub = hub_of(study.sites(tmp_path, swapped={1: range(30)}, shuffled=True), settings_of(), tmp_path / "swapped")
    must_be_plink_s(rows(run(hub, quality_of(hub), None)), table)


SNPSTATS = """
suppressMessages(library(snpStats)); data(for.exercise)
some <- snps.10[, seq(1, ncol(snps.10), 40)]
write.table(as(some, "numeric"), file.path(commandArgs(TRUE)[1], "calls.tsv"), sep = "\\t", quote = FALSE)
write.table(subject.support, file.path(commandArgs(TRUE)[1], "people.tsv"), sep = "\\t", quote = FALSE)
"""


@pytest.mark.slow
def test_measured_genotypes(tmp_path):
    """713 variants of chromosome 10 of 1,000 people, two populations; the trait is synthetic."""
    need_snpstats()
    subprocess.run(["Rscript", "-e", SNPSTATS, str(tmp_path)], check=True, capture_output=True)
    calls = pd.read_csv(tmp_path / "calls.tsv", sep="\t")
    people = pd.read_csv(tmp_path / "people.tsv", sep="\t")
    rng = np.random.default_rng(0)
    study = made_up(len(calls), calls.shape[1], 0, chromosome=[10] * calls.shape[1])
    study.calls[:] = np.where(calls.isna(), -1, calls.fillna(0)).astype(np.int8)
    asian = (people["stratum"] != "CEU").to_numpy()
    study.sheet["age"] = asian.astype(float)
    study.sheet["y"] = np.round(0.8 * asian + 0.3 * study.calls[:, 100] + rng.normal(size=len(calls)), 5)
    study.sheet["site"] = np.where(asian, 3, 0) + rng.integers(0, 3, len(calls)) % np.where(asian, 2, 3)
    found, table = both(study, tmp_path, ("age",), "no-x-sex")
    must_be_plink_s(found, table)
    assert (table["ERRCODE"] == ".").mean() > 0.9
