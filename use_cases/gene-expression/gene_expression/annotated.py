"""AnnData's .h5ad files: the one module that needs the package anndata."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gene_expression.errors import InputError


def read_h5ad(file: Path, layer: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Values and annotations of the samples.

    Args:
        file: The file.
        layer: A layer by name instead of X.

    Returns:
        Samples x genes, float64; and ``obs``, with the index as ``sample_id`` unless it has such a column.

    Raises:
        InputError: The package is missing, the file is no .h5ad, or it has no such layer.
    """
    try:
        import anndata  # type: ignore[import-untyped]  # noqa: PLC0415 -- only for these files
    except ImportError:
        raise InputError("Reading .h5ad needs the package anndata: pip install anndata.") from None
    try:
        data = anndata.read_h5ad(file)
    except FileNotFoundError:
        raise InputError(f"{file} is not there; check the path.") from None
    except Exception as error:  # the reader raises many kinds; their texts may quote data
        raise InputError(f"{file.name} cannot be read as .h5ad ({type(error).__name__}); write it again.") from None
    if layer and layer not in data.layers:
        known = ", ".join(sorted(data.layers)) or "none"
        raise InputError(
            f"{file.name} has no layer {layer!r} (it has {known}); name one of them, or leave it out for X."
        )
    matrix = data.layers[layer] if layer else data.X
    if matrix is None:
        raise InputError(f"{file.name} has no X; name the layer that holds the values.")
    ids = pd.Index([str(name) for name in data.obs_names], name="sample_id")
    values = pd.DataFrame(_dense(matrix), index=ids, columns=[str(name) for name in data.var_names])
    sheet = pd.DataFrame(data.obs).reset_index(drop=True)
    if "sample_id" not in sheet:
        sheet.insert(0, "sample_id", ids)
    for name in sheet.columns:
        if isinstance(sheet[name].dtype, pd.CategoricalDtype):
            sheet[name] = sheet[name].astype(object)
    return values, sheet


def _dense(matrix: Any) -> "np.typing.NDArray[np.float64]":
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
