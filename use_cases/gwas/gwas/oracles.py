"""The same tests on the pooled samples, by other means: least squares variant by variant, statsmodels, and PLINK 2.

Nothing here uses sums over DIZ. PLINK 2 runs as a program of its own where it is installed; its tests are of samples
with a call, and are compared where the run's are as well (``missing = "exclude"``) or where no call is missing.
"""

import math
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError
from gwas.genotypes import HEADER
from gwas.pooled import Pooled
from gwas.readers import packed

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

NUMPY, STATSMODELS, PLINK = "numpy's least squares", "statsmodels' Logit", "plink2 --glm"
_SHARED = ("beta", "se", "log10p")


@dataclass(frozen=True, eq=False)
class Tests:
    """Tests of some variants by one program.

    Attributes:
        program: Whose they are.
        values: beta, se and log10p (-log10 p), (m,) each, NaN where it has none.
    """

    program: str
    values: dict[str, Float]


def linear(pooled: Pooled, index: Int, z: Float) -> Tests:
    """Least squares of the phenotype on the covariates z (n, q) and each variant, by an orthogonal decomposition."""
    from scipy import stats  # noqa: PLC0415 -- only for comparisons

    y, found = pooled.phenotype[pooled.analysed], np.full((3, len(index)), np.nan)
    for place, (g, used) in _each(pooled, index):
        x = np.column_stack([z[used], g[used]])
        q, r = np.linalg.qr(x)
        b = np.linalg.solve(r, q.T @ y[used])
        degrees = len(x) - x.shape[1]
        rest = y[used] - x @ b
        se = math.sqrt(rest @ rest / degrees) / abs(r[-1, -1])
        log10p = -(stats.t.logsf(abs(b[-1]) / se, degrees) + math.log(2)) / math.log(10)
        found[:, place] = b[-1], se, log10p
    return Tests(NUMPY, dict(zip(_SHARED, found, strict=True)))


def logistic(pooled: Pooled, index: Int, z: Float) -> Tests:
    """Maximum likelihood by statsmodels.

    Raises:
        InputError: statsmodels is not installed.
    """
    try:
        import statsmodels.api as sm  # type: ignore[import-untyped]  # noqa: PLC0415
    except ModuleNotFoundError:
        raise InputError("Comparing a logistic run needs statsmodels: pip install 'gwas[compare]'.") from None
    from scipy import stats  # noqa: PLC0415

    y, found = pooled.phenotype[pooled.analysed], np.full((3, len(index)), np.nan)
    for place, (g, used) in _each(pooled, index):
        x = np.column_stack([z[used], g[used]])
        model = sm.Logit(y[used], x)
        fit = model.fit(disp=0, method="newton", tol=1e-12, maxiter=100, warn_convergence=False)
        # the standard error at the estimate, not at the step before it
        se = math.sqrt(np.linalg.inv(-model.hessian(fit.params))[-1, -1])
        b = float(fit.params[-1])
        found[:, place] = b, se, -(stats.norm.logsf(abs(b) / se) + math.log(2)) / math.log(10)
    return Tests(STATSMODELS, dict(zip(_SHARED, found, strict=True)))


def plink(pooled: Pooled, index: Int, z: Float) -> Tests | None:
    """PLINK 2's tests; None where it is not installed or would test other samples.

    Raises:
        InputError: It ended with an error.
    """
    program = shutil.which("plink2")
    calls = pooled.calls(index)[pooled.analysed]
    autosomal = pooled.panel.chromosome[index] <= 22
    if program is None or not autosomal.any() or (pooled.settings.missing != "exclude" and (calls < 0).any()):
        return None
    with tempfile.TemporaryDirectory(prefix="gwas-") as name:
        stem = Path(name) / "pooled"
        _write(stem, pooled, index[autosomal], calls[:, autosomal], z)
        command = [program, "--bfile", str(stem), "--pheno", f"{stem}.phe", "--pheno-name", "Y"]
        command += ["--no-input-missing-phenotype"]
        command += ["--covar", f"{stem}.cov"] if z.shape[1] > 1 else []
        command += ["--glm", *(["no-firth"] if pooled.settings.binary else [])]
        command += [
            "hide-covar",
            "omit-ref",
            *([] if z.shape[1] > 1 else ["allow-no-covars"]),
            "--covar-variance-standardize",
        ]
        command += ["--threads", "1", "--out", str(stem)]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 -- found on the path
        tables = sorted(Path(name).glob("pooled.*.glm.*"))
        tables = [table for table in tables if table.suffix != ".id"]
        if done.returncode or not tables:
            raise InputError(f"plink2 ended with exit status {done.returncode} on the pooled samples.")
        rows = _table(tables[0])
    found = np.full((3, len(index)), np.nan)
    place = {f"v{at}": row for row, at in enumerate(index.tolist())}
    for row in rows:
        numbers = [_number(row.get(name, "NA")) for name in ("BETA", "OR", "SE", "LOG(OR)_SE", "P")]
        beta = numbers[0] if math.isfinite(numbers[0]) else _log(numbers[1])
        se = numbers[2] if math.isfinite(numbers[2]) else numbers[3]
        p = -math.log10(numbers[4]) if numbers[4] > 0 else math.nan
        found[:, place[row["ID"]]] = beta, se, p
    return Tests(PLINK, dict(zip(_SHARED, found, strict=True)))


def _each(pooled: Pooled, index: Int, width: int = 500) -> Any:
    """Place, and copies and samples used of each variant."""
    for start in range(0, len(index), width):
        copies, used = pooled.imputed(index[start : start + width])
        for column in range(copies.shape[1]):
            yield start + column, (copies[:, column], used[:, column])


def _write(stem: Path, pooled: Pooled, index: Int, calls: npt.NDArray[np.int8], z: Float) -> None:
    stem.with_suffix(".bed").write_bytes(HEADER + packed(calls).tobytes())
    panel, people = pooled.panel, [f"s{row}" for row in range(len(calls))]
    lines = [f"{panel.chromosome[at]}\tv{at}\t0\t{panel.position[at]}\tA\tC\n" for at in index.tolist()]
    stem.with_suffix(".bim").write_text("".join(lines))
    stem.with_suffix(".fam").write_text("".join(f"{name}\t{name}\t0\t0\t0\t-9\n" for name in people))
    y = pooled.phenotype[pooled.analysed] + (1 if pooled.settings.binary else 0)
    values = [str(int(v)) if pooled.settings.binary else repr(float(v)) for v in y]
    rows = [f"{name}\t{name}\t{v}\n" for name, v in zip(people, values, strict=True)]
    stem.with_suffix(".phe").write_text("FID\tIID\tY\n" + "".join(rows))
    head = "FID\tIID\t" + "\t".join(f"C{column}" for column in range(1, z.shape[1]))
    lines = ["\t".join([name, name, *(repr(float(v)) for v in row[1:])]) for name, row in zip(people, z, strict=True)]
    stem.with_suffix(".cov").write_text("\n".join([head, *lines]) + "\n")


def _table(path: Path) -> list[dict[str, str]]:
    head, *lines = (line.split("\t") for line in path.read_text().splitlines())
    return [dict(zip(head, line, strict=True)) for line in lines]


def _number(word: str) -> float:
    return math.nan if word in ("NA", ".", "") else float(word)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan
