"""Panels: the agreed list of genes, in the agreed order.

Names cannot leave a DIZ through a release contract, and DIZ need not have measured the same genes. The list is
therefore part of the app: every DIZ approves it with the code, lays its columns out in this order (a gene that it did
not measure is a column of missing values, one that is not listed is left out), and the hub knows which gene column j
is.

A further panel is a file ``panels/NAME.json`` with the keys ``title``, ``origin``, ``id_type`` and ``genes``, chosen by
the run config ``panel``; `python -m gene_expression panel` writes one. Ids are of one type. Ensembl ids stand there
without their version: ENSG00000141510.17 in one release of the annotation is ENSG00000141510.18 in the next.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from gene_expression.errors import InputError

ENSEMBL, PROBE, ENTREZ, SYMBOL = "ensembl", "probe", "entrez", "symbol"

ID_TYPES = {
    ENSEMBL: re.compile(r"ENS[A-Z]{0,4}[GT]\d{11}(\.\d+)?(_PAR_Y)?"),
    PROBE: re.compile(r"[\w/.-]+_at|ILMN_\d+|A_\d+_P\d+|TC\d+\.hg\.\d+|[A-Z]+_\d{5,}", re.ASCII),
    ENTREZ: re.compile(r"\d+"),
    SYMBOL: re.compile(r"[A-Za-z][A-Za-z0-9._@/-]*"),
}
"""Patterns of ids, the more special first."""

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VERSION = re.compile(r"(ENS[A-Z]{0,4}[GT]\d{11})\.\d+")


@dataclass(frozen=True)
class Panel:
    """The genes of one study.

    Attributes:
        name: The name of its file.
        title: What the genes are.
        origin: Where the list comes from.
        id_type: One of `ID_TYPES`.
        genes: Ids, unique, in column order, Ensembl ids without version.
    """

    name: str
    title: str
    origin: str
    id_type: str
    genes: tuple[str, ...]


@lru_cache(maxsize=4)
def load_panel(name: str) -> Panel:
    """The panel of this name.

    Raises:
        InputError: There is no such panel, or its file is not one.
    """
    folder = files("gene_expression") / "panels"
    file = folder / f"{name}.json"
    if not NAME.fullmatch(name) or not file.is_file():
        known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir())
        raise InputError(
            f"There is no panel {name!r}; choose one of {', '.join(known)}, or write one with "
            "`python -m gene_expression panel`."
        )
    content = json.loads(file.read_text(encoding="utf-8"))
    genes = tuple(content["genes"])
    check_genes(genes, f"The panel {name!r}")
    return Panel(name, content["title"], content["origin"], content["id_type"], genes)


def panel_text(title: str, origin: str, genes: Iterable[str]) -> str:
    """The content of a panel's file.

    Args:
        title: What the genes are.
        origin: Where the list comes from.
        genes: Ids; versions of Ensembl ids are taken off.

    Raises:
        InputError: An id is there twice, or the ids are of several types.
    """
    bare = tuple(without_version(gene) for gene in genes)
    check_genes(bare, "The list of genes")
    head = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in _head(title, origin, bare).items()]
    rows = [", ".join(json.dumps(gene) for gene in bare[at : at + 8]) for at in range(0, len(bare), 8)]
    return "\n".join(["{", *head, ' "genes": [', ",\n".join(f"  {row}" for row in rows), " ]", "}"]) + "\n"


def _head(title: str, origin: str, genes: tuple[str, ...]) -> dict[str, str]:
    return {"title": title, "origin": origin, "id_type": id_type(genes)}


def check_genes(genes: tuple[str, ...], what: str) -> None:
    """Ids are there, and each once.

    Raises:
        InputError: They are not; the text begins with `what`.
    """
    if not genes:
        raise InputError(f"{what} names no gene.")
    if repeated := len(genes) - len(set(genes)):
        raise InputError(f"{what} names {repeated} genes more than once; remove the repetitions.")


def without_version(gene: str) -> str:
    """An Ensembl id without its version, any other id as it is.

    >>> without_version("ENSG00000141510.17"), without_version("TP53"), without_version("1007_s_at")
    ('ENSG00000141510', 'TP53', '1007_s_at')
    """
    found = _VERSION.fullmatch(gene)
    return found[1] if found else gene


def id_type(genes: Iterable[str]) -> str:
    """Which type of id these are: that of at least nine in ten of them.

    Raises:
        InputError: They are of several types.
    """
    counts = dict.fromkeys(ID_TYPES, 0)
    total = 0
    for gene in genes:
        total += 1
        for name, pattern in ID_TYPES.items():
            if pattern.fullmatch(gene):
                counts[name] += 1
                break
    most = max(counts, key=lambda name: counts[name])
    if counts[most] >= 0.9 * max(total, 1) and total:
        return most
    shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    raise InputError(
        f"The gene ids are of several types ({shown or 'none that is known'} of {total}); map all of them to one, "
        "for instance to Ensembl gene ids."
    )
