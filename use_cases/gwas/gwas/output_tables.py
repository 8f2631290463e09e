"""What the report and the table of loci say of a scan."""

import csv
import io
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from flame_strategies.genomic_control import Inflation

from gwas import summary_statistics
from gwas.clumping import GENOME_WIDE, SUGGESTIVE, WINDOW_KB, Locus
from gwas.panel import Panel, chromosome_name
from gwas.results import FEW_MISSING, OK, STATUS, TESTS, Associations, p_text, text
from gwas.settings import Settings
from gwas.site_design import OTHER_PART

TOP = 100
"""Loci in the report; ``loci.tsv`` holds all."""

INFLATED = 1.1

HARMONY = (
    "not at this DIZ",
    "as in the panel",
    "alleles swapped",
    "other strand",
    "swapped, and other strand",
    "A/T or C/G: strand unknown, left out",
    "other alleles than the panel's, left out",
    "listed twice, left out",
)
"""What became of a variant at a DIZ, by the codes of `gwas.harmonise`."""

_LOCUS = ("variant", "chromosome", "position", "effect allele", "other allele", "n", "beta", "se", "p")
_FILE = (*(name.replace(" ", "_") for name in _LOCUS), "log10_p", "test", "sites", "start", "stop", "variants")


class Quality(Protocol):
    """What this module reads of the quality control."""

    @property
    def reasons(self) -> Mapping[str, int]:
        """Variants by why they enter or do not."""

    @property
    def samples(self) -> Mapping[str, int]:
        """Samples by why they are analysed or not."""

    @property
    def harmony(self) -> npt.NDArray[np.int64]:
        """(8,) how often each code of `HARMONY` was found, over variants and DIZ."""

    @property
    def sex(self) -> npt.NDArray[np.int64] | None:
        """(3, 3) samples by stated sex and by X: unknown, male, female."""


class Components(Protocol):
    """What this module reads of principal components."""

    @property
    def eigenvalues(self) -> npt.NDArray[np.float64]:
        """(K,) falling."""

    @property
    def share(self) -> npt.NDArray[np.float64]:
        """(K,) of the sum of all."""

    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """What messages bring."""

    def notes(self) -> tuple[str, ...]:
        """Sentences."""


def quality_tables(quality: Quality, associations: Associations, settings: Settings) -> list[dict[str, Any]]:
    """Variants, samples and alleles, by what became of them.

    Counts of samples that the gates hold back arrive as 0: the tables say that they are small, not that there are none.
    """
    few = settings.min_carriers
    hidden = (
        f'Counts below {few} over all DIZ stay hidden and read "fewer than {few}"; the rows then do not add up to all '
        "samples."
    )
    of_samples = [
        [name, _told(count, few)]
        for name, count in quality.samples.items()
        if name != OTHER_PART or settings.analysis == "score"
    ]
    variants = [[name, str(count)] for name, count in quality.reasons.items()]
    tested = [[STATUS[code], str(count)] for code, count in associations.tally.items() if count]
    found = [
        _table(
            "Quality control: variants", "By the run config's limits, over all DIZ.", ["variants", "number"], variants
        ),
        _table("Quality control: samples", f"Of all DIZ. {hidden}", ["samples", "number"], of_samples),
        _table("Tests", "Of the variants that passed the quality control.", ["variants", "number"], tested),
        _table(
            "Harmonisation with the panel",
            "Over all DIZ: a variant that five DIZ have counts five times.",
            ["variants", "number"],
            [[name, str(count)] for name, count in zip(HARMONY, quality.harmony.tolist(), strict=True)],
        ),
    ]
    if quality.sex is not None:
        words = ("unknown", "male", "female")
        rows = [
            [word, *(_told(count, few) for count in row)] for word, row in zip(words, quality.sex.tolist(), strict=True)
        ]
        caption = f"Samples by the stores' sex (rows) and by what their X chromosome speaks for (columns). {hidden}"
        found.append(_table("Sex check", caption, ["sex", "X: unclear", "X: male", "X: female"], rows))
    return found


def headline(
    found: Inflation, thousand: float, signals: list[Locus], of: Associations, panel: Panel
) -> list[dict[str, str]]:
    """Loci, tests, inflation and samples.

    Args:
        found: Of the tests.
        thousand: Their lambda_1000, NaN for a trait.
        signals: The suggestive loci, the clearest first.
        of: The tests.
        panel: Whose variants they are of.
    """
    significant = [locus for locus in signals if locus.row["log10p"] >= -math.log10(GENOME_WIDE)]
    lead = significant[0] if significant else None
    note = f"clearest: {panel.id[lead.index]}, p = {p_text(lead.row['log10p'])}" if lead else "none below p = 5e-8"
    scaled = f"; {thousand:.3f} for 1,000 cases and controls" if math.isfinite(thousand) else ""
    passed = sum(of.tally.values())
    tested = f"of {panel.size} in the panel {panel.name}"
    if passed > of.tally[OK]:
        tested += f"; {passed - of.tally[OK]} of {passed} that passed the quality control have no result"
    entries = [
        {"label": "genome-wide significant loci", "value": str(len(significant)), "note": note},
        {
            "label": "suggestive loci",
            "value": str(len(signals)),
            "note": f"p < {SUGGESTIVE:.0e}, the significant ones included",
        },
        {"label": "tested variants", "value": str(found.tests), "note": tested},
        {"label": "λ", "value": text(found.inflation), "note": f"median statistic over that of chance{scaled}"},
    ]
    if of.samples:
        cases = f"{of.cases} cases, " if of.cases else ""
        entries.append({"label": "samples", "value": str(of.samples), "note": f"{cases}at {len(of.sites)} DIZ"})
    return entries


def notes_of(settings: Settings, written: summary_statistics.Written, found: Inflation, of: Associations) -> list[str]:
    """Sentences below the report."""
    files = (
        f"All tested variants: {summary_statistics.NAME}, with its metadata, in the form of the GWAS Catalog "
        "(GWAS-SSF v1.0); the effect allele is the panel's alt."
    )
    locus = (
        f"A locus is a lead with all suggestive variants within {WINDOW_KB:.0f} kb of it, by position alone; two "
        "signals near each other count as one."
    )
    rare = f"A variant of which fewer than {settings.min_carriers} people carry one of the alleles has no result."
    notes = [files, locus, rare, *_without(of, settings)]
    if written.other_alleles:
        notes.append(
            f"{written.other_alleles} tested variants have alleles that are no sequence of A, C, G and T, and are not "
            "in the summary statistics; associations/ has them."
        )
    if found.inflation > INFLATED:
        notes.append(
            f"λ = {found.inflation:.2f}: the tests are inflated. Population structure is the usual reason; take "
            "principal components (pcs) or the two-step method. Many true signals in many samples do it as well."
        )
    return notes


def _without(of: Associations, settings: Settings) -> list[str]:
    """How many of the variants that passed have no result, and why; nothing where all have one."""
    passed = sum(of.tally.values())
    why = sorted(((count, code) for code, count in of.tally.items() if count and code != OK), reverse=True)
    if not why:
        return []
    said = "; ".join(f"{STATUS[code]} ({count})" for count, code in why)
    note = (
        f"{passed - of.tally[OK]} of {passed} variants that passed the quality control have no result, because: {said}."
    )
    if settings.missing == "exclude" and why[0][1] == FEW_MISSING:
        note += (
            f" Where fewer than {settings.min_carriers} people have no call, sums without them would tell about these "
            'few; missing = "impute" tests such variants.'
        )
    return [note]


def top(signals: list[Locus], panel: Panel) -> dict[str, Any]:
    """The clearest loci."""
    caption = "Leads of the signals, the clearest first; beta is of one copy of the effect allele."
    rows = [
        [str(cell) if isinstance(cell, str | int) else text(cell) for cell in _row(locus, panel)]
        for locus in signals[:TOP]
    ]
    return _table("Top loci", caption, list(_LOCUS), rows)


def _row(locus: Locus, panel: Panel) -> list[Any]:
    at, row = locus.index, locus.row
    place = [str(panel.id[at]), chromosome_name(int(panel.chromosome[at])), int(panel.position[at])]
    return [
        *place,
        str(panel.alt[at]),
        str(panel.ref[at]),
        int(row["n"]),
        row["beta"],
        row["se"],
        p_text(row["log10p"]),
    ]


def loci_file(signals: list[Locus], panel: Panel) -> bytes:
    """All loci, as ``loci.tsv``."""
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
    writer.writerow(_FILE)
    for locus in signals:
        row = [repr(cell) if isinstance(cell, float) else cell for cell in _row(locus, panel)]
        more = [repr(locus.row["log10p"]), TESTS[int(locus.row["test"])], int(locus.row["sites"])]
        writer.writerow([*row, *more, locus.start, locus.stop, locus.variants])
    return lines.getvalue().encode()


def details(locus: Locus, panel: Panel) -> dict[str, Any]:
    """A locus for ``analysis.json``."""
    of = {"id": str(panel.id[locus.index]), "start": locus.start, "stop": locus.stop, "variants": locus.variants}
    return {"index": locus.index, **of, **{name: locus.row[name] for name in ("beta", "se", "log10p", "n")}}


def components_table(components: Components) -> dict[str, Any]:
    """Eigenvalues and shares."""
    rows = [
        [f"PC{place + 1}", text(float(value)), f"{share:.2%}"]
        for place, (value, share) in enumerate(zip(components.eigenvalues, components.share, strict=True))
    ]
    caption = "Of the pooled genotypes; the patients' places on them stay at their DIZ."
    return _table("Principal components", caption, ["component", "eigenvalue", "share"], rows)


def _table(name: str, caption: str, columns: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"title": name, "caption": caption, "columns": columns, "rows": rows}


def _told(count: int, few: int) -> str:
    return str(count) if count else f"fewer than {few}"
