"""PLINK 2 genotypes: .pgen, .pvar and .psam of one stem, two alleles per variant.

A view's .pvar has the columns CHROM, POS, ID, REF and ALT and no header lines; its .psam has IID and what is wanted of
the record table, if it is that. Its .pgen has dosages, and hard calls where a dosage is within 0.1 of a whole number
(PLINK's own rule); phase is left behind. Whether other people have dosages or phase is thereby not to be seen.
PLINK 2 has no .pgen without samples or without variants: such a view has .pvar and .psam only.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.kind import inside, under
from flame_fl.data.kinds.genotypes import IID, Indices, TrioKind, Variant, View, chunks, companion, kept
from flame_fl.data.kinds.genotypes_drawn import draw_calls, draw_people, draw_variants
from flame_fl.data.schema import StoreSchema

_MISSING = -9
_COLUMNS = ("CHROM", "POS", "ID", "REF", "ALT")


class PgenKind(TrioKind):
    """A folder of PLINK 2 files."""

    @staticmethod
    def companions(name: str) -> tuple[str, ...]:
        """The trio."""
        return name, companion(name, ".pgen", ".pvar"), companion(name, ".pgen", ".psam")

    def variants(self, name: str) -> Iterator[Variant]:
        """The rows of the .pvar."""
        return _pvar_rows(self._beside(name, 1))

    def check(self, name: str, people: int) -> None:
        """As many samples and variants in the .pgen as in the files beside it."""
        self._opened(name, people)[0].close()

    def write(self, name: str, people: int, views: Sequence[View], keep: Indices | None) -> None:
        """The trio of every view."""
        reader, variants = self._opened(name, people)
        count = variants if keep is None else len(keep)
        try:
            for view in views:
                _write_psam(view)
                _write_pvar(view.path, kept(self.variants(name), keep))
            full = [view for view in views if len(view.samples) and count]
            writers = [_Writer(view.path, len(view.samples), count) for view in full]
            for start, stop, rows in chunks(variants, people, keep if full else np.empty(0, np.int64)):
                dosages = np.empty((stop - start, people), dtype=np.float32)
                try:
                    reader.read_dosages_range(start, stop, dosages)
                except RuntimeError:
                    raise _unreadable(self.folder / name) from None
                for view, writer in zip(full, writers, strict=True):
                    writer.append(dosages[rows][:, view.samples])
            for writer in writers:
                writer.close()
        finally:
            reader.close()

    def _opened(self, name: str, people: int) -> tuple[Any, int]:
        """A reader, and how many variants there are."""
        from pgenlib import PgenReader  # type: ignore[import-untyped]  # noqa: PLC0415

        path = inside(self.folder, name)
        variants = sum(1 for _ in self.variants(name))
        try:
            reader = PgenReader(bytes(path.absolute()))
        except RuntimeError:
            raise _unreadable(path) from None
        found = (reader.get_raw_sample_ct(), reader.get_variant_ct())
        if found != (people, variants):
            reader.close()
            raise InputError(
                f"{path} has {found[0]} samples and {found[1]} variants, the .psam {people} and the .pvar {variants}.",
                mend="Take the three files from one export, and copy them whole.",
            )
        return reader, variants

    def _beside(self, name: str, which: int) -> Path:
        part = self.companions(name)[which]
        if which == 1 and not (self.folder / part).exists() and (self.folder / f"{part}.zst").exists():
            raise InputError(f"{self.folder / part}.zst is compressed.", mend="Write it plain: unzstd FILE.pvar.zst.")
        return super()._beside(name, which)

    @staticmethod
    def mock(schema: StoreSchema, rows: int, seed: int, into: Path) -> None:
        """Made-up trios."""
        own = schema.table in {PgenKind.companions(features.file)[2] for features in schema.features}
        table, samples = draw_people(schema, rows, seed, own=own)
        if not own:
            records.write(under(into, schema.table), table)
        everyone = np.arange(len(samples), dtype=np.int64)
        for features in schema.features:
            pgen, _, psam = (under(into, name) for name in PgenKind.companions(features.file))
            _write_psam(View(everyone, samples, table if psam == into / schema.table else None, pgen))
            _write_pvar(pgen, draw_variants(features))
            if not samples or not features.names:
                continue
            writer = _Writer(pgen, len(samples), len(features.names))
            for calls in draw_calls(features, len(samples), seed):
                writer.append(np.where(calls < 0, _MISSING, calls))
            writer.close()


class _Writer:
    """A .pgen; pgenlib's errors are those of the disk."""

    def __init__(self, path: Path, people: int, variants: int) -> None:
        from pgenlib import PgenWriter  # noqa: PLC0415

        self._path = path
        assert people > 0  # noqa: S101  (pgenlib crashes)
        try:
            self._open = PgenWriter(
                bytes(path.absolute()), people, variant_ct=variants, nonref_flags=False, dosage_present=True
            )
        except RuntimeError:
            raise OSError(f"{path} cannot be written.") from None

    def append(self, dosages: Any) -> None:
        try:
            self._open.append_dosages_batch(np.ascontiguousarray(dosages, dtype=np.float32))
        except RuntimeError:
            raise OSError(f"{self._path} cannot be written.") from None

    def close(self) -> None:
        try:
            self._open.close()
        except RuntimeError:
            raise OSError(f"{self._path} cannot be written.") from None


def _pvar_rows(path: Path) -> Iterator[Variant]:
    try:
        with path.open(encoding="utf-8") as file:
            line = next((line for line in file if not line.startswith("##")), "")
            header = line.rstrip("\r\n").removeprefix("#").split("\t")
            if not line.startswith("#CHROM") or any(header.count(name) != 1 for name in _COLUMNS):
                raise InputError(
                    f"{path} has no line #CHROM POS ID REF ALT.", mend="Export it again: plink2 --make-pgen."
                )
            at = [header.index(name) for name in _COLUMNS]
            for line in file:
                fields = line.rstrip("\r\n").split("\t")
                if len(fields) != len(header):
                    raise InputError(
                        f"{path} has a row of another length.", mend="Export it again: plink2 --make-pgen."
                    )
                variant = Variant(*(fields[i] for i in at))
                if "," in variant.alt:
                    raise InputError(
                        f"{path} has a variant with more than two alleles.",
                        mend="Split or drop such variants: plink2 --max-alleles 2.",
                    )
                yield variant
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8.", mend="Convert it: iconv -f ISO-8859-1 -t UTF-8.") from None


def _write_pvar(pgen: Path, variants: Iterator[Variant]) -> None:
    with pgen.with_suffix(".pvar").open("w", encoding="utf-8", newline="\n") as out:
        out.write("#" + "\t".join(_COLUMNS) + "\n")
        out.writelines("\t".join(variant) + "\n" for variant in variants)


def _write_psam(view: View) -> None:
    table = {IID: view.words} if view.table is None else view.table.to_pydict()
    with view.path.with_suffix(".psam").open("w", encoding="utf-8", newline="\n") as out:
        out.write("#" + "\t".join(table) + "\n")
        for row in zip(*table.values(), strict=True):
            out.write("\t".join("NA" if value is None else str(value) for value in row) + "\n")


def _unreadable(path: Path) -> InputError:
    return InputError(f"{path} is not a .pgen file that can be read.", mend="Export it again: plink2 --make-pgen.")
