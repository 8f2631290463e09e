"""PLINK 2 on the pooled samples of `logistic_study`; as a program it writes what the tests hold results against.

``python -m tests.use_cases.gwas.freeze_logistic`` from the repository's root, with plink2 2.00a3 installed.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from tests.use_cases.gwas.logistic_study import Study, study
from tests.use_cases.gwas.plink_files import plink, read_plink, write_bed

FROZEN = Path(__file__).with_name("frozen")
MODES = ("no-firth", "firth-fallback", "firth")
COLUMNS = "cols=a1count,a1countcc,test,nobs,beta,se,tz,p,firth,err"
"""Column sets of --glm."""

TERMS = ("INTERCEPT", "AGE", "BATCH1", "BATCH2", "ADD")
"""The columns of a design as PLINK 2 calls them, in this app's order."""


def the_study() -> Study:
    """Of 500 patients and 80 variants, half of them rare: some have carriers among the cases or controls alone."""
    return study(seed=11, n=500, m=80, rare=0.5)


def frozen(mode: str) -> Path:
    """Where the results of a mode are."""
    return FROZEN / f"plink2-logistic-{mode}.tsv"


def plink2(of: Study, folder: Path, mode: str) -> pd.DataFrame:
    """The table of ``--glm`` on all patients; of "firth" with all coefficients, else those of genotypes alone."""
    stem, names = folder / "pooled", [f"s{row}" for row in range(len(of.age))]
    write_bed(stem.with_suffix(".bed"), of.calls)
    ids = [f"7\tv{place}\t0\t{place + 1}\tA\tG\n" for place in range(of.calls.shape[1])]
    stem.with_suffix(".bim").write_text("".join(ids))
    stem.with_suffix(".fam").write_text("".join(f"0\t{name}\t0\t0\t0\t-9\n" for name in names))
    arrays = of.design()
    known, age = of.batch >= 0, (of.age - arrays["centre"][0]) / arrays["scale"][0]
    columns = {"AGE": age} | {f"BATCH{code}": np.where(known, of.batch == code, np.nan) for code in (1, 2)}
    sheet = pd.DataFrame({"#IID": names, "Y": of.disease, **columns})
    sheet[["#IID", "Y"]].to_csv(stem.with_suffix(".phe"), sep="\t", index=False, na_rep="NA")
    sheet.drop(columns="Y").to_csv(stem.with_suffix(".cov"), sep="\t", index=False, na_rep="NA", float_format="%.17g")
    files = ("--pheno", f"{stem}.phe", "--covar", f"{stem}.cov")
    shown = "intercept" if mode == "firth" else "hide-covar"
    plink("plink2", stem, *files, "--glm", mode, "omit-ref", shown, COLUMNS)
    ending = {"no-firth": "logistic", "firth-fallback": "logistic.hybrid", "firth": "firth"}[mode]
    return read_plink(Path(f"{stem}.Y.glm.{ending}"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for each in MODES:
            plink2(the_study(), Path(name), each).to_csv(frozen(each), sep="\t", index=False, na_rep="NA")
