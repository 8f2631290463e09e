"""`panel`: the variants of a study, written beside the other panels of this app, whose part they then are."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError
from gwas.genotypes import Genotypes
from gwas.harmonise import Variants, harmonise
from gwas.panel import BUILDS, NAME, Names, Panel, chromosome_code, chromosome_name, load_panel
from gwas.panel_file import check, encode, look_alikes
from gwas.prepare import STORE
from gwas.store import BIM_FILE, check_bed, read_bim, read_fam
from gwas.tables import read_text

_NO_ALLELE = frozenset({"0", ".", "", "N", "*", "-"})
_AT_ONCE = 1_000
_COLUMNS = {
    "chromosome": ("CHROM", "CHR", "CHROMOSOME"),
    "position": ("POS", "BP", "POSITION"),
    "ref": ("REF", "OTHER_ALLELE", "A2"),
    "alt": ("ALT", "EFFECT_ALLELE", "A1"),
    "id": ("ID", "SNP", "RSID", "RS_ID"),
    "frequency": ("ALT_FREQS", "ALT_FREQUENCY", "EFFECT_ALLELE_FREQUENCY", "AF"),
}


def write_panel(  # noqa: PLR0917 -- as the command line
    name: str,
    sources: list[Path],
    build: str,
    frequency: Path | None,
    title: str,
    origin: str,
    *,
    counted: bool = False,
) -> str:
    """Write ``panels/NAME.json``.

    Args:
        name: Of the panel, in kebab-case.
        sources: Files with variants: .bim, .pvar, .vcf, .vcf.gz, or a table with columns such as CHROM POS REF ALT ID
            ALT_FREQS; or folders that `prepare` wrote. A variant of several files is taken from the first one.
        build: Of the genome.
        frequency: A table with the frequencies of a reference population (plink2 --freq), or None.
        title: What the variants are.
        origin: Where the list comes from.
        counted: Whether frequencies that are not known yet are counted in the sources' .bed files, to two decimals.
            The panel is public among the DIZ: count the files of public data, or of many people.

    Returns:
        What was written, for a person.

    Raises:
        InputError: The name is none, a source holds no usable list, or nothing says how frequent the alleles are.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name of a panel; use small letters, digits and hyphens.")
    if build not in BUILDS:
        raise InputError(f"State the genome build of the positions: --build {' or '.join(BUILDS)}.")
    found = [read_variants(file) for source in sources for file in _files(source)]
    panel, dropped = build_panel(name, found, build, title, origin)
    if frequency:
        panel = with_frequencies(panel, frequency)
    if counted:
        panel = with_counts(panel, [file for source in sources for file in _files(source)])
    if not np.isfinite(panel.alt_frequency).any():
        raise InputError(
            "No variant has a frequency, and only variants that the panel states as common enter principal components, "
            "the two-step method and scores. Give the frequencies of a reference population (--frequency FILE, as "
            "plink2 --freq writes it), or --count to count the alleles of the .bed beside the .bim."
        )
    check(panel)
    target = Path(str(files("gwas") / "panels")) / f"{name}.json"
    target.write_text(encode(panel), encoding="utf-8")
    load_panel.cache_clear()
    known = int(np.isfinite(panel.alt_frequency).sum())
    shown = "".join(f" {count} {what} left out." for what, count in dropped.items() if count)
    return (
        f"{target}: {panel.size} variants of {len(panel.stretches())} chromosomes, {known} with a frequency.{shown} "
        "It is part of the app: a DIZ approves it with the code."
    )


def show_panel(name: str, rows: int) -> str:
    """The first rows of a panel, and what it is, for a person."""
    panel = load_panel(name)
    lines = [f"{panel.title} ({panel.origin}); {panel.build}, {panel.size} variants."]
    for start, stop in panel.stretches():
        where = f"{panel.position[start]} to {panel.position[stop - 1]}"
        lines.append(f"chromosome {chromosome_name(int(panel.chromosome[start]))}: {stop - start} variants, {where}")
    lines += [
        f"{panel.id[row]}\t{panel.key(row)}\t{panel.alt_frequency[row]:.3f}" for row in range(min(rows, panel.size))
    ]
    return "\n".join(lines)


def read_variants(path: Path) -> tuple[Variants, npt.NDArray[np.float32]]:
    """Variants of a file, A1 the effect allele, and their frequencies, NaN where unknown.

    Raises:
        InputError: It cannot be read as one of the formats.
    """
    name = path.name.lower()
    if name.endswith(".bim"):
        variants = read_bim(path)
        return variants, np.full(len(variants.position), np.nan, dtype=np.float32)
    if name.endswith(".gz"):
        raise InputError(f"{path.name} is compressed; give the list of variants as plain text: gunzip.")
    return _table(path)


def _table(path: Path) -> tuple[Variants, npt.NDArray[np.float32]]:
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.startswith("##")]
    head = [word.strip().upper() for word in lines[0].lstrip("#").split()] if lines else []
    at = {key: next((head.index(word) for word in words if word in head), -1) for key, words in _COLUMNS.items()}
    if absent := [_COLUMNS[key][0] for key in ("chromosome", "position", "ref", "alt") if at[key] < 0]:
        raise InputError(
            f"{path.name} has no column {absent[0]}; its header names chromosome, position and two alleles."
        )
    rows = [line.split() for line in lines[1:]]
    try:
        chromosome = np.array([chromosome_code(row[at["chromosome"]]) for row in rows], dtype=np.uint8)
        position = np.array([int(row[at["position"]]) for row in rows], dtype=np.int64)
        ref, alt, ids = (
            np.array([row[at[key]] if at[key] >= 0 else "." for row in rows], dtype=object)
            for key in ("ref", "alt", "id")
        )
        cells = [row[at["frequency"]] if at["frequency"] >= 0 else "nan" for row in rows]
        frequency = np.array([float(cell) if _is_number(cell) else np.nan for cell in cells], dtype=np.float32)
    except (IndexError, ValueError):
        raise InputError(f"{path.name} has short rows, or positions that are no whole numbers.") from None
    return Variants(chromosome, position, alt, ref, ids), frequency


def build_panel(
    name: str, found: list[tuple[Variants, npt.NDArray[np.float32]]], build: str, title: str, origin: str
) -> tuple[Panel, dict[str, int]]:
    """Variants of several files in order and each once, and how many were left out, by reason.

    Raises:
        InputError: None is left.
    """
    parts = [variants for variants, _ in found]
    if not parts:
        raise InputError("Name a file with variants, or a folder that prepare wrote.")
    chromosome, position, alt, ref, ids = (
        np.concatenate([getattr(part, key) for part in parts]) for key in ("chromosome", "position", "a1", "a2", "id")
    )
    frequency = np.concatenate([part for _, part in found])
    several = np.array(["," in allele for allele in alt.tolist()], dtype=bool)
    blank = np.array([bool({a, b} & _NO_ALLELE) or a == b for a, b in zip(alt, ref, strict=True)], dtype=bool)
    unknown = (chromosome == 0) | (position < 1)
    kept = np.flatnonzero(~(several | blank | unknown))
    place = chromosome.astype(np.int64) << 40 | position
    kept = kept[np.argsort(place[kept], kind="stable")]
    short = np.array(["" if word == "." else word for word in ids[kept].tolist()], dtype=object)
    panel = Panel(
        name,
        title,
        origin,
        build,
        chromosome[kept],
        position[kept],
        ref[kept],
        alt[kept],
        np.where((frequency[kept] >= 0) & (frequency[kept] <= 1), frequency[kept], np.nan).astype(np.float32),
        short,
    )
    repeated = look_alikes(panel, place[kept])
    panel = _without(panel, repeated)
    dropped = {
        "with several alternative alleles": int(several.sum()),
        "without two alleles": int((blank & ~several).sum()),
        "without a known place": int((unknown & ~blank & ~several).sum()),
        "that an earlier one equals": len(repeated),
    }
    if not panel.size:
        raise InputError("No variant is left: they lack alleles, or known chromosomes.")
    return panel, dropped


def with_frequencies(panel: Panel, path: Path) -> Panel:
    """A panel with the frequencies of a table whose variants are the panel's, in either order of the alleles."""
    variants, frequency = _table(path)
    known = {
        (chromosome, position, a1, a2): value
        for chromosome, position, a1, a2, value in zip(
            variants.chromosome.tolist(), variants.position.tolist(), variants.a1, variants.a2, frequency, strict=True
        )
    }
    found = panel.alt_frequency.copy()
    columns = zip(panel.chromosome.tolist(), panel.position.tolist(), panel.alt, panel.ref, strict=True)
    for row, (chromosome, position, alt, ref) in enumerate(columns):
        if (value := known.get((chromosome, position, alt, ref))) is not None:
            found[row] = value
        elif (value := known.get((chromosome, position, ref, alt))) is not None:
            found[row] = 1 - value
    return replace(panel, alt_frequency=found)


def with_counts(panel: Panel, files_: list[Path]) -> Panel:
    """A panel whose unknown frequencies are those of all samples of the .bed files beside some .bim files.

    Raises:
        InputError: A file is no .bim, or has no .bed and .fam beside it.
    """
    copies, calls = np.zeros((2, panel.size))
    for file in files_:
        bed, fam = file.with_suffix(".bed"), file.with_suffix(".fam")
        if file.suffix != ".bim" or not (bed.is_file() and fam.is_file()):
            raise InputError(f"{file.name} is no .bim with .bed and .fam beside it, whose alleles could be counted.")
        variants, people = read_bim(file), len(read_fam(fam))
        check_bed(bed, people, len(variants.position))
        match = harmonise(panel, variants, "keep")
        there = Genotypes(bed, people, np.arange(people), match.place, match.turned, match.harmony)
        for start in range(0, panel.size, _AT_ONCE):
            found = there.read(start, min(start + _AT_ONCE, panel.size))
            of = slice(start, start + found.shape[1])
            copies[of] += np.where(found > 0, found, 0).sum(axis=0)
            calls[of] += (found >= 0).sum(axis=0)
    counted = np.where(calls > 0, np.round(copies / np.maximum(2 * calls, 1), 2), np.nan)
    known = np.isfinite(panel.alt_frequency)
    return replace(panel, alt_frequency=np.where(known, panel.alt_frequency, counted).astype(np.float32))


def _without(panel: Panel, rows: list[int]) -> Panel:
    keep = np.ones(panel.size, dtype=bool)
    keep[rows] = False
    columns: tuple[str, ...] = ("chromosome", "position", "ref", "alt", "alt_frequency", "stored_ids")
    chosen: dict[str, npt.NDArray[np.generic] | Names] = {key: getattr(panel, key)[keep] for key in columns}
    return replace(panel, **chosen)  # type: ignore[arg-type]


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(source.glob(f"*/{STORE}/{BIM_FILE}"))
    if not found:
        raise InputError(f"{source} was not written by prepare; give its --out, or a list of variants.")
    return found


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
