"""Own files, checked against each other before anything is written.

Genotypes (see `readers`), and tables of phenotypes and covariates as PLINK has them (see `tables`). Samples are matched
by IID, in whatever order the files are. What cannot be right is an `InputError` that says the mend; what is merely
incomplete is counted in the report. No text of this module carries a value or an id of a patient.
"""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gwas.errors import InputError
from gwas.harmonise import Variants
from gwas.readers import Source, read_source
from gwas.settings import PATIENT_ID, RESERVED, SEX, SPLIT
from gwas.tables import Table, is_missing, numbers, phenotype, read_header_table

_SEXES = {"1": 1, "m": 1, "male": 1, "2": 2, "f": 2, "female": 2}


@dataclass(frozen=True)
class Own:
    """What `prepare --own` is given.

    Attributes:
        genotypes: A .bed, .pgen, .vcf, .vcf.gz or .bcf.
        pheno: Table of phenotypes; None for the sixth column of a .fam.
        covar: Table of covariates, or None.
        pheno_name: Which of its columns; empty for all.
        covar_name: Likewise.
        site_column: Column of either table that names the site, not written into the stores; empty for one DIZ.
        one: Whether diseases are coded 0 and 1 instead of 1 and 2.
        ignore_unmatched: Whether rows about samples without genotypes are passed over.
    """

    genotypes: Path
    pheno: Path | None = None
    covar: Path | None = None
    pheno_name: tuple[str, ...] = ()
    covar_name: tuple[str, ...] = ()
    site_column: str = ""
    one: bool = False
    ignore_unmatched: bool = False

    def describe(self) -> dict[str, Any]:
        """As JSON has it, the files by what is in them.

        Raises:
            InputError: One cannot be read.
        """
        found = asdict(self)
        companions = {".bed": (".bim", ".fam"), ".pgen": (".pvar", ".psam")}.get(self.genotypes.suffix, ())
        files = [self.genotypes, *(self.genotypes.with_suffix(ending) for ending in companions)]
        found["genotypes"] = [_sha256(file) for file in files]
        for key in ("pheno", "covar"):
            found[key] = _sha256(found[key]) if found[key] else ""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


@dataclass(frozen=True, eq=False)
class Found:
    """What was read.

    Attributes:
        source: The genotypes.
        columns: (n,) by name, in the order of the genotypes: patient_id, sex, phenotypes and covariates, None where
            missing.
        sites: (n,) the site of each sample; empty for one DIZ.
        report: Counts.
    """

    source: Source
    columns: dict[str, list[Any]]
    sites: list[str]
    report: dict[str, Any]


def read_own(own: Own) -> Found:
    """Read and check own files.

    Raises:
        InputError: They cannot be used; the text says why and what to do.
    """
    source = read_source(own.genotypes)
    repeated = _repeated(source.variants)
    if repeated:
        raise InputError(
            f"Variants of {own.genotypes.name} that are there twice, with the same position and alleles: {repeated}. "
            "Keep one of each: plink2 --rm-dup force-first."
        )
    report: dict[str, Any] = {
        "samples": len(source.people),
        "variants": len(source.words),
        "variants_with_several_alternatives_left_out": source.left_out,
        "variants_on_unknown_chromosomes": int((source.variants.chromosome == 0).sum()),
    }
    pheno = _aligned(own.pheno, source, own, report) if own.pheno else _of_fam(source)
    covar = _aligned(own.covar, source, own, report) if own.covar else {}
    columns: dict[str, list[Any]] = {PATIENT_ID: list(source.people)}
    for table in (pheno, covar):
        for name in (PATIENT_ID, "PATIENT_ID"):
            if name in table:
                columns[PATIENT_ID] = _filled(table.pop(name), "patient_id")
    columns[SEX] = _sex(source, pheno, covar)
    sites: list[str] = []
    if own.site_column:
        found = next((table.pop(own.site_column) for table in (pheno, covar) if own.site_column in table), None)
        if found is None:
            raise InputError(f"No table has a column {own.site_column!r}; name the one that says the site.")
        sites = _filled(found, own.site_column)
    for table in (pheno, covar):
        if SPLIT in table:
            columns[SPLIT] = _filled(table.pop(SPLIT), SPLIT)
    for name in _named(pheno, own.pheno_name, "--pheno-name"):
        columns[name], kind = phenotype(name, pheno[name], one=own.one)
        report[f"phenotype {name}"] = _described(columns[name], kind)
    for name in _named(covar, own.covar_name, "--covar-name"):
        if name in columns:
            raise InputError(f"The column {name!r} is in both tables; give it once.")
        cells = covar[name]
        columns[name] = numbers(cells) or [None if is_missing(cell) else cell for cell in cells]
        report[f"covariate {name}"] = f"known of {many(sum(cell is not None for cell in columns[name]), 'sample')}"
    return Found(source, columns, sites, report)


def _repeated(variants: Variants) -> int:
    pairs = [
        (chromosome, position, *sorted((a1, a2)))
        for chromosome, position, a1, a2 in zip(
            variants.chromosome.tolist(), variants.position.tolist(), variants.a1, variants.a2, strict=True
        )
        if chromosome
    ]
    return len(pairs) - len(set(pairs))


def _aligned(path: Path, source: Source, own: Own, report: dict[str, Any]) -> Table:
    """A table's columns in the order of the genotypes' samples; empty cells where it has no row."""
    table = read_header_table(path)
    row_of = {person: row for row, person in enumerate(table["IID"])}
    there = set(source.people)
    unmatched = sum(person not in there for person in row_of)
    known = len(row_of) - unmatched
    if not known:
        raise InputError(
            f"No sample of {path.name} has genotypes. Ids (IID) must be written alike: look for a prefix, a family id "
            "that was joined to them, or leading zeros that got lost."
        )
    if unmatched and not own.ignore_unmatched:
        raise InputError(
            f"Samples of {path.name} without genotypes: {unmatched} ({known} have some). Correct their ids, take them "
            "out, or state --ignore-unmatched."
        )
    report[f"samples of {path.name} without genotypes"] = unmatched
    report[f"samples with genotypes that {path.name} lacks"] = len(there) - known
    rows = [row_of.get(person, -1) for person in source.people]
    return {name: ["" if row < 0 else column[row] for row in rows] for name, column in table.items() if name != "IID"}


def _of_fam(source: Source) -> Table:
    if all(is_missing(cell) for cell in source.sheet.get("PHENO", [])):
        raise InputError("Give a table of phenotypes (--pheno): the genotypes come without any.")
    return {"phenotype": source.sheet["PHENO"]}


def _sex(source: Source, pheno: Table, covar: Table) -> list[int]:
    """1, 2 or 0 where unknown: of a table, else of the genotypes' own file."""
    given = next((table.pop(name) for table in (pheno, covar) for name in ("SEX", "sex") if name in table), None)
    cells = given or source.sheet["SEX"]
    return [_SEXES.get(cell.strip().lower(), 0) for cell in cells]


def _named(table: Table, names: tuple[str, ...], option: str) -> list[str]:
    if absent := [name for name in names if name not in table]:
        raise InputError(f"There is no column {absent[0]!r}, which {option} names; there are {', '.join(table)}.")
    chosen = list(names) or list(table)
    if reserved := [name for name in chosen if name in RESERVED]:
        raise InputError(f"A column cannot be called {reserved[0]!r}; give it another name.")
    return chosen


def _filled(cells: list[str], name: str) -> list[str]:
    if unnamed := sum(is_missing(cell) for cell in cells):
        raise InputError(f"Samples without a value in {name!r}: {unnamed}. Fill the column, or leave them out.")
    return cells


def many(count: int, word: str) -> str:
    """A number and its noun.

    >>> many(1, "sample"), many(0, "sample")
    ('1 sample', '0 samples')
    """
    return f"{count} {word}{'' if count == 1 else 's'}"


def _described(values: list[Any], kind: str) -> str:
    known = [value for value in values if value is not None]
    if kind == "disease":
        count = Counter(known)
        return f"disease: {many(count[2.0], 'case')}, {many(count[1.0], 'control')}, {len(values) - len(known)} missing"
    return f"trait: {many(len(known), 'value')}, {len(values) - len(known)} missing"


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        raise InputError(f"{file} cannot be read; check the path.") from None
