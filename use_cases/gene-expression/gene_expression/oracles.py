"""The same tests on the pooled samples: by R's limma where Rscript is installed, else least squares gene by gene.

The design matrix is built here with pandas, not with the code that the DIZ run. R runs as a program of its own
(``pooled_limma.R``). Without it only the fold changes and mean expression are compared.
"""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from flame_strategies.contrasts import contrast_matrix

from gene_expression.differential_run import design_of
from gene_expression.errors import InputError
from gene_expression.prepare import SITE
from gene_expression.quality import word_of
from gene_expression.settings import Settings
from gene_expression.table import COUNTS

Float = npt.NDArray[np.float64]

LIMMA, LEAST_SQUARES = "R limma", "least squares"


@dataclass(frozen=True, eq=False)
class Pooled:
    """Tests of the pooled samples.

    Attributes:
        program: Whose they are.
        genes: G ids.
        tests: By contrast and quantity (logFC, AveExpr, t, log10.P, adj.P.Val), each (G,).
        seconds: What R took, without reading and writing; NaN without R.
    """

    program: str
    genes: tuple[str, ...]
    tests: dict[str, dict[str, Float]]
    seconds: float


def pooled(values: pd.DataFrame, sheet: pd.DataFrame, settings: Settings, panel: tuple[str, ...]) -> Pooled:
    """The tests of all samples in one matrix.

    Args:
        values: Samples x genes of all DIZ, index = sample ids.
        sheet: Their sheet, with the column `prepare.SITE`.
        settings: Design, contrasts and method.
        panel: Gene ids.

    Raises:
        InputError: R ended with an error.
    """
    X, terms, complete = model_matrix(sheet, settings)
    names, weights = contrast_matrix(design_of(settings), terms, settings.contrasts)
    genes = [gene for gene in panel if gene in values.columns]
    Y = values.loc[sheet["sample_id"][complete], genes].to_numpy(dtype=np.float64)
    measured = np.isfinite(Y).all(axis=0)
    genes, Y = [gene for gene, there in zip(genes, measured.tolist(), strict=True) if there], Y[:, measured]
    group = None
    if settings.scale == COUNTS and settings.filter and settings.group:
        group = sheet[settings.group][complete].map(word_of).tolist()
    program = shutil.which("Rscript")
    if program is not None:
        found = _by_limma(program, Y, X, weights, settings=settings, group=group)
        if found is not None:
            kept, tests, seconds = found
            ids = tuple(genes[place] for place in kept.tolist())
            return Pooled(LIMMA, ids, dict(zip(names, tests, strict=True)), seconds)
    if settings.scale == COUNTS:
        raise InputError("Comparing counts needs Rscript with limma and edgeR: apt-get install r-bioc-edger")
    beta, *_ = np.linalg.lstsq(X, Y, rcond=None)
    average = Y.mean(axis=0)
    tests = [{"logFC": weights[:, k] @ beta, "AveExpr": average} for k in range(len(names))]
    return Pooled(LEAST_SQUARES, tuple(genes), dict(zip(names, tests, strict=True)), float("nan"))


def model_matrix(sheet: pd.DataFrame, settings: Settings) -> tuple[Float, tuple[str, ...], npt.NDArray[np.bool_]]:
    """(n, q) the design of the complete samples, the coefficients' names, and which samples these are.

    With a batch of every site, the sites' columns come first, instead of an intercept.
    """
    parts: dict[str, pd.Series[float]] = {}
    for name in settings.numeric:
        parts[name] = pd.to_numeric(sheet[name], errors="coerce").replace([np.inf, -np.inf], np.nan)
    for name in settings.categorical:
        words, levels = sheet[name].map(word_of), settings.levels[name]
        for level in levels[1:]:
            parts[f"{name}[{level}]"] = (words == level).astype(float).where(words.isin(levels))
    columns = pd.DataFrame(parts, index=sheet.index)
    complete = columns.notna().all(axis=1).to_numpy()
    if settings.batch == "site":
        first = pd.get_dummies(sheet[SITE][complete], dtype=float)
    else:
        first = pd.DataFrame({"(intercept)": 1.0}, index=sheet.index[complete])
    X = pd.concat([first, columns[complete]], axis=1)
    return X.to_numpy(dtype=np.float64), tuple(map(str, X.columns)), complete


def _by_limma(
    program: str, Y: Float, X: Float, weights: Float, *, settings: Settings, group: list[str] | None
) -> tuple[npt.NDArray[np.intp], list[dict[str, Float]], float] | None:
    """Places of the genes kept, tests by contrast, and seconds; None where limma is not installed.

    Raises:
        InputError: R ended with an error.
    """
    counts = settings.scale == COUNTS
    with tempfile.TemporaryDirectory(prefix="gene-expression-") as name:
        folder = Path(name)
        (folder / "values.bin").write_bytes(np.ascontiguousarray(Y, dtype="<f8").tobytes())
        (folder / "design.bin").write_bytes(np.asarray(X, dtype="<f8").tobytes(order="F"))
        (folder / "weights.bin").write_bytes(np.asarray(weights, dtype="<f8").tobytes(order="F"))
        (folder / "sizes.txt").write_text(f"{Y.shape[1]} {Y.shape[0]} {X.shape[1]} {weights.shape[1]}\n")
        if group is not None:
            (folder / "group.txt").write_text("\n".join(group) + "\n", encoding="utf-8")
        script = Path(__file__).with_name("pooled_limma.R")
        arguments = [name, settings.method, settings.scaling if counts else "-", "no" if group is None else "yes"]
        done = subprocess.run([program, str(script), *arguments], capture_output=True, check=False)  # noqa: S603 -- own script
        if done.returncode == 3:
            return None
        if done.returncode:
            raise InputError(f"R's limma ended with exit status {done.returncode} on the pooled samples.")
        kept = np.fromfile(folder / "kept.bin", dtype="<f8").astype(np.intp) - 1
        flat = np.fromfile(folder / "tests.bin", dtype="<f8").reshape(weights.shape[1], 5, len(kept))
        seconds = float((folder / "facts.txt").read_text().split()[1])
    quantities = ("logFC", "AveExpr", "t", "log10.P", "adj.P.Val")
    return kept, [dict(zip(quantities, tests, strict=True)) for tests in flat], seconds
