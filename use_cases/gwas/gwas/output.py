"""What a scan leaves for people and programs: plots, loci, tables of the quality control, summary statistics.

Files in the run's folder:

* ``summary-statistics.tsv.gz`` and its ``-meta.yaml``: every tested variant, as the GWAS Catalog takes them;
* ``loci.tsv``: the suggestive signals with their leads;
* ``plots/manhattan.png``, ``plots/qq.png``;
* ``components.npz``, with principal components: what they are computed from, no patient's;
* ``associations/``: the tests by chunk, with those that have no result and why.
"""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.genomic_control import inflation, lambda_1000
from flame_strategies.output import write_atomically

from gwas import output_tables, summary_statistics
from gwas.clumping import loci
from gwas.hub import Hub
from gwas.manhattan import manhattan
from gwas.output_tables import Components, Quality
from gwas.panel import Panel
from gwas.presets import made_up
from gwas.qq import qq
from gwas.results import STATUS, Associations, Outcome, group
from gwas.settings import Settings

TITLES = {
    "linear": "Linear association",
    "logistic": "Logistic association",
    "two-step": "Two-step association",
    "score": "Polygenic score",
}
"""Of a report, by analysis."""


def write(hub: Hub, quality: Quality, components: Components | None, associations: Associations) -> Outcome:
    """Write all files of a scan.

    Args:
        hub: The run.
        quality: The quality control's numbers.
        components: Principal components that were covariates.
        associations: The tests.
    """
    settings, panel = hub.settings, hub.panel
    found = inflation(lambda: (part["log10p"] for part in associations.tested(("log10p",))))
    signals = loci(associations, panel)
    write_atomically(hub.folder / "loci.tsv", output_tables.loci_file(signals, panel))
    written = summary_statistics.write(hub.folder, associations, panel, found.largest)
    summary_statistics.write_meta(hub.folder, written, about(settings, panel, associations))
    tables = [output_tables.top(signals, panel), *output_tables.quality_tables(quality, associations, settings)]
    if components is not None:
        save_arrays(hub.folder / "components.npz", components.arrays())
        tables.append(output_tables.components_table(components))
    thousand = lambda_1000(found.inflation, associations.cases, associations.samples - associations.cases)
    counts: dict[str, Mapping[str, float]] = {"variants": quality.reasons}
    # what the gates hold back arrives as 0, and is no number
    counts["samples"] = {name: count or math.nan for name, count in quality.samples.items()}
    counts["tests"] = {STATUS[code]: count for code, count in associations.tally.items()}
    control = group(
        ["tests", "lambda", "lambda_1000", "largest -log10 p"], [found.tests, found.inflation, thousand, found.largest]
    )
    mark = made_up(settings.set, settings.phenotype)
    said = [*associations.notes, *(components.notes() if components else ())]
    return Outcome(
        title=f"{TITLES[settings.analysis]}: {settings.phenotype}{f' ({mark})' if mark else ''}",
        headline=tuple(output_tables.headline(found, thousand, signals, associations, panel)),
        figures=tuple(figures(hub.folder, associations, panel, mark)),
        tables=tuple(tables),
        notes=(*said, *output_tables.notes_of(settings, written, found, associations)),
        sites=associations.sites,
        exchanges=associations.exchanges,
        numbers={"genomic control": control, **{key: group(of, list(of.values())) for key, of in counts.items()}},
        details={
            "loci": [output_tables.details(locus, panel) for locus in signals[:1000]],
            "panel": panel.name,
            "build": panel.build,
            "nodes": [str(node) for node in associations.sites],
            "summary_statistics": {"rows": written.rows, "other_alleles": written.other_alleles, "md5": written.md5},
        },
    )


def figures(folder: Path, associations: Associations, panel: Panel, mark: str = "") -> list[dict[str, str]]:
    """Manhattan and QQ plot, with a mark in their corner; none without tests."""
    found = inflation(lambda: (part["log10p"] for part in associations.tested(("log10p",))))
    if not found.tests:
        return []
    largest = _largest_finite(associations) if math.isinf(found.largest) else found.largest
    return [
        manhattan(folder, associations, panel, loci(associations, panel), largest, mark=mark),
        qq(folder, associations, found.tests, largest, found.inflation, mark=mark),
    ]


def about(settings: Settings, panel: Panel, associations: Associations) -> dict[str, Any]:
    """What the metadata of the summary statistics say of the study."""
    mark = made_up(settings.set, settings.phenotype)
    warning = f"{mark.capitalize()}: these results say nothing of any trait. " if mark else ""
    sample: dict[str, Any] = {"sample_size": associations.samples} if associations.samples else {}
    sample["case_control_study"] = settings.binary
    if settings.binary and associations.cases:
        sample |= {"case_count": associations.cases, "control_count": associations.samples - associations.cases}
    how = f"{TITLES[settings.analysis]} over {len(associations.sites)} sites, from sums over all of them."
    return {
        "author_notes": f"{warning}{how} Genome build: {panel.build}.",
        "trait_description": [settings.phenotype],
        "genome_assembly": panel.build if panel.build.startswith("GRCh") else "NR",
        "samples": [sample],
        "analysis_software": "flame gwas",
        "adjusted_covariates": [*settings.covariates, *(f"PC{number + 1}" for number in range(settings.pcs))],
    }


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """An ``.npz`` of arrays by name, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def _largest_finite(associations: Associations) -> float:
    """The largest -log10 p that is finite."""
    parts = (part["log10p"] for part in associations.tested(("log10p",)))
    return max((float(p[np.isfinite(p)].max(initial=0.0)) for p in parts), default=0.0)
