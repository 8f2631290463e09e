"""`panel`: the genes of a study, written beside the other panels of this app, whose part they then are."""

from importlib.resources import files
from pathlib import Path

from gene_expression.annotated import read_h5ad
from gene_expression.errors import InputError
from gene_expression.panel import NAME, panel_text
from gene_expression.prepare import STORE
from gene_expression.store import EXPRESSION_FILE, SAMPLE_ID


def write_panel(name: str, source: Path, title: str, origin: str) -> str:
    """Write ``panels/NAME.json``.

    Args:
        name: Of the panel, in kebab-case.
        source: A text file with one id a line; a folder that `prepare` wrote, of which the genes of all DIZ are taken;
            or an .h5ad file.
        title: What the genes are.
        origin: Where the list comes from.

    Returns:
        What was written, for a person.

    Raises:
        InputError: The name is none, or the source holds no usable list.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name of a panel; use small letters, digits and hyphens.")
    genes = _genes(source)
    text = panel_text(title, origin, genes)
    target = Path(str(files("gene_expression") / "panels")) / f"{name}.json"
    target.write_text(text, encoding="utf-8")
    return f"{target}: {len(genes)} genes. It is part of the app: a DIZ approves it with the code."


def _genes(source: Path) -> list[str]:
    if source.is_dir():
        return _of_prepared(source)
    if source.suffix == ".h5ad":
        return [str(gene) for gene in read_h5ad(source)[0].columns]
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{source} cannot be read as text; give a file with one gene id a line.") from None
    return [line.strip() for line in lines if line.strip()]


def _of_prepared(folder: Path) -> list[str]:
    """Genes that any DIZ has, in the order of the first one that has them."""
    import pyarrow.parquet as pq  # noqa: PLC0415 -- only for this

    found: dict[str, None] = {}
    for file in sorted(folder.glob(f"*/{STORE}/{EXPRESSION_FILE}")):
        found |= dict.fromkeys(gene for gene in pq.ParquetFile(file).schema_arrow.names if gene != SAMPLE_ID)
    if not found:
        raise InputError(f"{folder} was not written by prepare; give its --out, or a list of ids.")
    return list(found)
