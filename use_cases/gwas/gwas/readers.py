"""Own genotypes in one shape: the variants, the people, and blocks of calls one after another.

PLINK 1 (``.bed`` with ``.bim`` and ``.fam``; bed-reader), PLINK 2 (``.pgen`` with ``.pvar`` and ``.psam``; pgenlib) and
VCF (``.vcf``, ``.vcf.gz``, ``.bcf``; cyvcf2). Of PGEN and VCF the hard calls are read; their alternative allele is
counted. Records with several alternative alleles are left out and counted.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gwas.errors import InputError
from gwas.harmonise import Variants
from gwas.panel import chromosome_code
from gwas.store import check_bed, read_bim, read_fam
from gwas.tables import Table, read_header_table, read_text

Calls = npt.NDArray[np.int8]

ENDINGS = (".bed", ".pgen", ".vcf", ".vcf.gz", ".bcf")
AT_ONCE = 20_000_000
"""Calls in a block."""


@dataclass(frozen=True, eq=False)
class Source:
    """Genotypes somewhere.

    Attributes:
        variants: In the file's order; A1 is counted.
        words: (v,) the chromosomes as the file writes them.
        people: (n,) sample ids (IID), each once.
        sheet: What the file says of its samples: IID, SEX (1, 2, 0) and, of a .fam, PHENO.
        blocks: Calls of the next variants, int8 (n, m), -1 missing, until there are no more.
        left_out: Records that were not read.
    """

    variants: Variants
    words: list[str]
    people: list[str]
    sheet: Table
    blocks: Callable[[], Iterator[Calls]]
    left_out: int = 0


def read_source(path: Path) -> Source:
    """Genotypes of one of the formats.

    Raises:
        InputError: The file cannot be read, is damaged or in sample-major order, or what reads it is not installed.
    """
    name = path.name.lower()
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if name.endswith(".bed"):
        return _bed(path)
    if name.endswith(".pgen"):
        return _pgen(path)
    if name.endswith((".vcf", ".vcf.gz", ".bcf")):
        return _vcf(path)
    raise InputError(f"{path.name} is no file of genotypes; give one that ends in {', '.join(ENDINGS)}.")


def steps(variants: int, people: int) -> Iterator[tuple[int, int]]:
    """Ranges of variants whose calls fit in memory."""
    step = max(1, AT_ONCE // max(1, people))
    for start in range(0, variants, step):
        yield start, min(start + step, variants)


def _companion(path: Path, ending: str, mend: str) -> Path:
    found = path.with_suffix(ending)
    if not found.is_file():
        raise InputError(f"{path.name} needs {found.name} beside it; {mend}")
    return found


def _bed(path: Path) -> Source:
    bim, fam = (_companion(path, ending, "copy the three files of one export.") for ending in (".bim", ".fam"))
    people, variants = read_fam(fam), read_bim(bim)
    check_bed(path, len(people), len(variants.position))
    rows = [line.split() for line in read_text(fam).splitlines() if line.strip()]
    sheet = {"IID": people, "SEX": [row[4] for row in rows], "PHENO": [row[5] for row in rows]}
    words = [line.split(None, 1)[0] for line in read_text(bim).splitlines() if line.strip()]

    def blocks() -> Iterator[Calls]:
        with _reader("bed_reader", "bed-reader").open_bed(
            path, iid_count=len(people), sid_count=len(words), skip_format_check=True, num_threads=1
        ) as bed:
            for start, stop in steps(len(words), len(people)):
                calls = bed.read(np.s_[:, start:stop], dtype="int8")
                calls[calls < 0] = -1
                yield calls

    return Source(variants, words, people, sheet, blocks)


def _pgen(path: Path) -> Source:
    mend = "export again: plink2 --make-pgen (without vzs)."
    pvar, psam = (_companion(path, ending, mend) for ending in (".pvar", ".psam"))
    table = read_header_table(psam)
    people = _unique(table["IID"], psam.name)
    sheet = {"IID": people, "SEX": table.get("SEX", ["0"] * len(people))}
    rows = [line.split("\t") for line in read_text(pvar).splitlines() if line and not line.startswith("#")]
    single = np.array(["," not in row[4] and row[4] not in {".", ""} for row in rows], dtype=bool)
    kept = [row for row, one in zip(rows, single, strict=True) if one]
    pgenlib = _reader("pgenlib", "pgenlib")

    def blocks() -> Iterator[Calls]:
        with pgenlib.PgenReader(os.fsencode(path), raw_sample_ct=len(people)) as pgen:
            if pgen.get_variant_ct() != len(rows):
                raise InputError(f"{path.name} and {pvar.name} have different numbers of variants; {mend}")
            for start, stop in steps(len(rows), len(people)):
                calls = np.empty((stop - start, len(people)), dtype=np.int8)
                pgen.read_range(start, stop, calls)
                calls[calls < 0] = -1
                yield calls[single[start:stop]].T

    return Source(_variants(kept), [row[0] for row in kept], people, sheet, blocks, len(rows) - len(kept))


def _vcf(path: Path) -> Source:
    cyvcf2 = _reader("cyvcf2", "cyvcf2")

    def opened() -> Any:
        try:
            return cyvcf2.VCF(os.fspath(path), gts012=True)
        except (OSError, ValueError):
            raise InputError(f"{path.name} cannot be read as VCF or BCF; export it again.") from None

    vcf = opened()
    people = _unique(list(vcf.samples), path.name)
    if not people:
        raise InputError(f"{path.name} has no samples; it is a list of variants only.")
    rows, left_out = [], 0
    for record in vcf:
        if len(record.ALT) == 1:
            rows.append([record.CHROM, str(record.POS), record.ID or ".", record.REF, record.ALT[0]])
        else:
            left_out += 1

    def blocks() -> Iterator[Calls]:
        of = (np.array(record.gt_types, dtype=np.int8) for record in opened() if len(record.ALT) == 1)
        for start, stop in steps(len(rows), len(people)):
            calls = np.stack([next(of) for _ in range(start, stop)], axis=1)
            calls[calls == 3] = -1  # cyvcf2's code of an unknown genotype
            yield calls

    sheet = {"IID": people, "SEX": ["0"] * len(people)}
    return Source(_variants(rows), [row[0] for row in rows], people, sheet, blocks, left_out)


def _variants(rows: list[list[str]]) -> Variants:
    """Of rows CHROM, POS, ID, REF, ALT; the alternative allele is A1."""
    chromosome = np.array([chromosome_code(row[0]) for row in rows], dtype=np.uint8)
    position = np.array([int(row[1]) for row in rows], dtype=np.int64)
    ids, ref, alt = (np.array([row[at] for row in rows], dtype=object) for at in (2, 3, 4))
    return Variants(chromosome, position, alt, ref, ids)


def _unique(people: list[str], name: str) -> list[str]:
    if repeated := len(people) - len(set(people)):
        raise InputError(f"{name} has {repeated} samples whose id another one has; give each its own.")
    return people


def _reader(module: str, package: str) -> Any:
    from importlib import import_module  # noqa: PLC0415

    try:
        return import_module(module)
    except ImportError:
        raise InputError(f"{package} reads such files and is not installed: pip install {package}") from None


def packed(calls: Calls) -> npt.NDArray[np.uint8]:
    """Calls (n, m) as the bytes of a .bed (m, ceil(n / 4)): 0, 1, 2 copies of A1 and -1 are 11, 10, 00 and 01."""
    codes = np.array([0b11, 0b10, 0b00, 0b01], dtype=np.uint8)[calls.T]  # -1 is the last one
    width = -(-codes.shape[1] // 4)
    padded = np.zeros((codes.shape[0], 4 * width), dtype=np.uint8)
    padded[:, : codes.shape[1]] = codes
    fours = padded.reshape(codes.shape[0], width, 4)
    return np.asarray(fours[..., 0] | fours[..., 1] << 2 | fours[..., 2] << 4 | fours[..., 3] << 6, dtype=np.uint8)
