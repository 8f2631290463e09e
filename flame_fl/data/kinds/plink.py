"""PLINK 1 genotypes: .bed, .bim and .fam of one stem.

A .fam has six columns whatever is wanted: FID and IID are the sample's word, parents are 0, SEX is 0 and PHENO -9
unless the .fam is the record table and the column is wanted.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.kind import inside, under
from flame_fl.data.kinds.genotypes import Indices, TrioKind, Variant, View, chunks, companion, kept
from flame_fl.data.kinds.genotypes_drawn import draw_calls, draw_people, draw_variants
from flame_fl.data.schema import StoreSchema

Bytes = npt.NDArray[np.uint8]
_MAGIC, _SNP_MAJOR, _SAMPLE_MAJOR = b"\x6c\x1b", b"\x01", b"\x00"
_HEADER = len(_MAGIC) + len(_SNP_MAJOR)
_NEUTRAL = {"PAT": "0", "MAT": "0", "SEX": "0", "PHENO": "-9"}
_CODES = np.array([0b11, 0b10, 0b00, 0b01], dtype=np.uint8)  # of 0, 1 and 2 copies of A1, and of -1: missing


class PlinkKind(TrioKind):
    """A folder of PLINK 1 files."""

    @staticmethod
    def companions(name: str) -> tuple[str, ...]:
        """The trio."""
        return name, companion(name, ".bed", ".bim"), companion(name, ".bed", ".fam")

    def variants(self, name: str) -> Iterator[Variant]:
        """The rows of the .bim; A2 is the reference."""
        for chrom, id_, _, pos, a1, a2 in _bim_rows(self._beside(name, 1)):
            yield Variant(chrom, pos, id_, a2, a1)

    def check(self, name: str, people: int) -> None:
        """Magic bytes, SNP-major, and as many bytes as samples and variants make."""
        self._checked(name, people)

    def write(self, name: str, people: int, views: Sequence[View], keep: Indices | None) -> None:
        """The trio of every view."""
        variants = self._checked(name, people)
        for view in views:
            _write_fam(view)
        if views:
            _write_bim(self._beside(name, 1), keep, views)
        with ExitStack() as stack:
            source = stack.enter_context(inside(self.folder, name).open("rb"))
            outs = [stack.enter_context(view.path.open("wb")) for view in views]
            _write_bed(source, (variants, people), keep, [view.samples for view in views], outs)

    def _checked(self, name: str, people: int) -> int:
        """How many variants there are."""
        path = inside(self.folder, name)
        with path.open("rb") as file:
            head = file.read(_HEADER)
        if head == _MAGIC + _SAMPLE_MAJOR:
            raise InputError(f"{path} is in sample-major order.", mend="Write it again: plink --make-bed.")
        if head != _MAGIC + _SNP_MAJOR:
            raise InputError(f"{path} is not a PLINK 1 .bed file.", mend="Export it again: plink2 --make-bed.")
        variants = sum(1 for _ in _bim_rows(self._beside(name, 1)))
        expected, size = _HEADER + variants * _width(people), path.stat().st_size
        if size != expected:
            raise InputError(
                f"{path} has {size} bytes; {people} samples in the .fam and {variants} variants in the .bim make "
                f"{expected}.",
                mend="Take the three files from one export, and copy them whole.",
            )
        return variants

    @staticmethod
    def mock(schema: StoreSchema, rows: int, seed: int, into: Path) -> None:
        """Made-up trios."""
        own = schema.table in {PlinkKind.companions(features.file)[2] for features in schema.features}
        table, samples = draw_people(schema, rows, seed, own=own)
        if not own:
            records.write(under(into, schema.table), table)
        everyone = np.arange(len(samples), dtype=np.int64)
        for features in schema.features:
            bed, bim, fam = (under(into, name) for name in PlinkKind.companions(features.file))
            _write_fam(View(everyone, samples, table if fam == into / schema.table else None, bed))
            with bim.open("w", encoding="utf-8", newline="\n") as rows_out:
                for v in draw_variants(features):
                    rows_out.write(f"{v.chrom}\t{v.id}\t0\t{v.pos}\t{v.alt}\t{v.ref}\n")
            with bed.open("wb") as out:
                out.write(_MAGIC + _SNP_MAJOR)
                for calls in draw_calls(features, len(samples), seed):
                    out.write(_packed(_with_zeros(_CODES[calls].T), _quads(everyone, len(samples))).data)


def _bim_rows(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                fields = line.split()
                if len(fields) != 6:
                    raise InputError(
                        f"{path} has a row without six columns.", mend="Export it again: plink2 --make-bed."
                    )
                yield fields
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8.", mend="Convert it: iconv -f ISO-8859-1 -t UTF-8.") from None


def _write_bim(source: Path, keep: Indices | None, views: Sequence[View]) -> None:
    """The chosen rows into the first view, and from there into the others."""
    first, *others = (view.path.with_suffix(".bim") for view in views)
    with first.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines("\t".join(fields) + "\n" for fields in kept(_bim_rows(source), keep))
    for other in others:
        shutil.copyfile(first, other)


def _write_fam(view: View) -> None:
    table = {} if view.table is None else {name: view.table[name].to_pylist() for name in view.table.column_names}
    fids = table.get("FID", view.words)
    with view.path.with_suffix(".fam").open("w", encoding="utf-8", newline="\n") as out:
        for at, word in enumerate(view.words):
            rest = (_filled(table[name][at], n) if name in table else n for name, n in _NEUTRAL.items())
            out.write("\t".join((fids[at] or word, word, *rest)) + "\n")


def _filled(value: object, neutral: str) -> str:
    return neutral if value is None else str(value)


def _write_bed(
    source: BinaryIO,
    shape: tuple[int, int],
    keep: Indices | None,
    parts: Sequence[Indices],
    outs: Sequence[BinaryIO],
) -> None:
    """Copy the genotypes of each part into its own file; one pass, a few MB in memory."""
    variants, people = shape
    width = _width(people)
    quads = np.concatenate([_quads(part, 4 * width) for part in parts]) if parts else np.empty((0, 4), np.int64)
    ends = np.cumsum([_width(len(part)) for part in parts])
    for out in outs:
        out.write(_MAGIC + _SNP_MAJOR)
    for start, stop, rows in chunks(variants, people, keep):
        source.seek(_HEADER + start * width)
        block = source.read((stop - start) * width)
        if len(block) != (stop - start) * width:
            raise InputError("A .bed file became shorter while it was read.", mend="Leave the store's files alone.")
        raw = np.frombuffer(block, np.uint8).reshape(stop - start, width)[rows]
        packed = _packed(_unpacked(raw), quads)
        for out, end, part in zip(outs, ends, parts, strict=True):
            out.write(np.ascontiguousarray(packed[:, end - _width(len(part)) : end]).data)


def _width(people: int) -> int:
    """Bytes per variant: four genotypes each."""
    return -(-people // 4)


def _quads(part: Indices, zeros: int) -> Indices:
    """(bytes, 4): the samples whose genotypes make a byte; the row of zeros where the last byte has no more."""
    padded = np.full(4 * _width(len(part)), zeros, dtype=np.int64)
    padded[: len(part)] = part
    return padded.reshape(-1, 4)


def _unpacked(raw: Bytes) -> Bytes:
    """(variants, bytes) to (samples + 1, variants) of two-bit codes, and a last row of zeros.

    A sample's row is contiguous: numpy then works on long vectors, whichever samples are picked.
    """
    turned = np.ascontiguousarray(raw.T)
    codes = np.zeros((4 * raw.shape[1] + 1, raw.shape[0]), dtype=np.uint8)
    for k in range(4):
        codes[k:-1:4] = (turned >> (2 * k)) & 3
    return codes


def _packed(codes: Bytes, quads: Indices) -> Bytes:
    """(samples + 1, variants) of codes to (variants, bytes)."""
    packed = codes[quads[:, 0]]
    for k in range(1, 4):
        packed |= codes[quads[:, k]] << np.uint8(2 * k)
    return np.ascontiguousarray(packed.T)


def _with_zeros(codes: Bytes) -> Bytes:
    return np.concatenate([codes, np.zeros((1, codes.shape[1]), dtype=np.uint8)])
