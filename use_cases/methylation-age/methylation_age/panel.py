"""Panels: the agreed list of CpGs, in the agreed order.

Names cannot leave a DIZ through a release contract, and nodes need not have measured the same CpGs. The list is
therefore part of the app: every DIZ approves it with the code, lays its columns out in this order (a CpG that it did
not measure is a column of missing values, one that is not listed is left out), and the hub knows what column j means.

A further panel is a file ``panels/NAME.json`` with the keys ``title``, ``origin`` and ``cpgs``, chosen by the run
config ``panel``. Under ``public`` it may name CpGs that earlier publications relate to age, with a mean beta of public
arrays: a model that starts from these needs no sums from the DIZ beforehand, which under noise would cost budget.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from methylation_age.errors import InputError

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class PublicInputs:
    """Public knowledge of some CpGs of a panel.

    Attributes:
        columns: Their indices into the panel, ascending.
        centre: Their mean betas in public arrays.
    """

    columns: tuple[int, ...]
    centre: tuple[float, ...]


@dataclass(frozen=True)
class Panel:
    """CpGs of one study.

    Attributes:
        name: The name of its file.
        title: What the CpGs are.
        origin: Where the list comes from.
        cpgs: Illumina probe ids, unique, in column order.
        public: What is known of some of them beforehand.
    """

    name: str
    title: str
    origin: str
    cpgs: tuple[str, ...]
    public: "PublicInputs | None" = None


@lru_cache(maxsize=4)
def load_panel(name: str) -> Panel:
    """The panel of this name.

    Raises:
        InputError: There is no such panel, or its file names a CpG twice.
    """
    folder = files("methylation_age") / "panels"
    file = folder / f"{name}.json"
    if not _NAME.fullmatch(name) or not file.is_file():
        known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir())
        raise InputError(f"There is no panel {name!r}; choose one of {', '.join(known)}.")
    content = json.loads(file.read_text(encoding="utf-8"))
    cpgs = tuple(content["cpgs"])
    if len(set(cpgs)) != len(cpgs):
        raise InputError(f"The panel {name!r} names a CpG twice; remove the repetition from its file.")
    public = None
    if "public" in content:
        column = {cpg: j for j, cpg in enumerate(cpgs)}
        means = dict(zip(content["public"]["cpgs"], content["public"]["centre"], strict=True))
        known = sorted((column[cpg], mean) for cpg, mean in means.items())
        public = PublicInputs(tuple(j for j, _ in known), tuple(mean for _, mean in known))
    return Panel(name=name, title=content["title"], origin=content["origin"], cpgs=cpgs, public=public)
