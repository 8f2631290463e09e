"""What the genotype formats share: which sample is whose, what a variant is called, and how a store is cut.

Samples. The record table is the format's own (`.fam`, `.psam`), which has its ids in column IID, or a table of its own
whose `record_id` (else `patient_id`) holds them. Every record has exactly one sample in each genotype file. A sample
without a record is in no view. A view has its samples in the order of the genotype file.

Variants. A variant is called by its id. Where that is "." or occurs more than once, it is called CHROM:POS:REF:ALT
(REF is column 6 of a .bim). Two of one name are an error. The files of a view hold the ids that the store's have.

Alleles. Which of two alleles is counted is part of the store, fixed by its steward: views copy it. PLINK 1.9 swaps
alleles so that the rarer one *of the cohort* comes first; export with `--keep-allele-order`, else the order tells of
people who are not in a view. The list of variants itself is such a constant too: a variant that was called since one
patient has it stays in the views of all others.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.disguise import Disguise
from flame_fl.data.headers import require_columns
from flame_fl.data.kind import Rows, inside, under
from flame_fl.data.layout import ALL, Layout, Wanted
from flame_fl.data.schema import StoreSchema, drafted
from flame_fl.data.select import chosen_features, record_view

Indices = npt.NDArray[np.int64]
T = TypeVar("T")
IID = "IID"
_LONGEST_NAME = 256
_CALLS_AT_ONCE = 2_000_000


class Variant(NamedTuple):
    """A row of a .bim, a .pvar or a VCF."""

    chrom: str
    pos: str
    id: str
    ref: str
    alt: str


@dataclass(frozen=True)
class View:
    """One genotype file of one view.

    Attributes:
        samples: Its samples, as sorted indices of the store's.
        words: What they are called in the view.
        table: Their rows of the record table, if that is the file's own .fam or .psam.
        path: The file to write.
    """

    samples: Indices
    words: list[str]
    table: pa.Table | None
    path: Path


@dataclass(frozen=True)
class GenotypeKind(ABC):
    """A store of genotypes; a format says how its files are read and written."""

    folder: Path
    layout: Layout

    @staticmethod
    @abstractmethod
    def companions(name: str) -> tuple[str, ...]:
        """The files that belong to a genotype file, itself the first. Raises InputError if it is none by its name."""

    @abstractmethod
    def samples(self, name: str) -> list[str]:
        """The ids of its samples. Raises InputError if they cannot be read."""

    @abstractmethod
    def variants(self, name: str) -> Iterator[Variant]:
        """Its variants, one by one. Raises InputError if they cannot be read."""

    @abstractmethod
    def check(self, name: str, people: int) -> None:
        """Raise InputError where its parts do not fit together."""

    @abstractmethod
    def write(self, name: str, people: int, views: Sequence[View], keep: Indices | None) -> None:
        """Check, then write these variants (None: all) of a file with so many people into all views, in one pass."""

    def schema(self) -> StoreSchema:
        """Columns of the record table, and the variants."""
        columns = records.schema_of(self._table)
        for name in self._files:
            samples, _ = self._people(name)
            self.check(name, len(samples))
        return drafted(
            self.layout,
            [(field.name, records.column_type(field.type)) for field in columns],
            [
                {"file": file, "names": tuple(names), "type": "int", "min": 0, "max": 2}
                for file, names in zip(self.layout.files, self._names(), strict=True)
            ],
        )

    def patients(self) -> list[str | None]:
        """The patient id of each row of the record table."""
        return records.ids(self._table, self.layout.patient_id)

    def records(self, columns: Sequence[str]) -> pa.Table:
        """Columns of the record table."""
        return records.read(self._table, columns)

    def snapshot(self) -> tuple[str, ...]:
        """The record table, the genotype files and what belongs to them."""
        names = {self.layout.table, *(part for name in self._files for part in self.companions(name))}
        for name in names:
            inside(self.folder, name)
        return tuple(sorted(names))

    def subset(self, rows: Rows, wanted: Wanted, disguise: Disguise, into: Path) -> None:
        """A cut into one."""
        self.cut([rows], wanted, disguise, [into])

    def cut(self, parts: Sequence[Rows], wanted: Wanted, disguise: Disguise, intos: Sequence[Path]) -> None:
        """Write a view of each part into its own empty folder, reading the genotypes once.

        Raises:
            InputError: As `schema`, or something wanted is not there.
            OSError: A view cannot be written.
        """
        link = self._link
        word = disguise.patient if link == self.layout.patient_id else disguise.record
        tables = [record_view(self._table, self.layout, rows, wanted, disguise) for rows in parts]
        for name, keep in zip(self._files, self._chosen(wanted), strict=True):
            samples, of = self._people(name)
            own = self.layout.table in self.companions(name)
            views = []
            for rows, table, into in zip(parts, tables, intos, strict=True):
                mine = np.unique(of[rows])
                words = [word(samples[i]) for i in mine]
                shown = without_kin(table, self.layout, words, word) if own else None
                views.append(View(mine, words, shown, under(into, name)))
            self.write(name, len(samples), views, keep)
        if not self._own_table:
            for table, into in zip(tables, intos, strict=True):
                records.write(under(into, self.layout.table), table)

    @property
    def _table(self) -> Path:
        return inside(self.folder, self.layout.table)

    @property
    def _files(self) -> tuple[str, ...]:
        if not self.layout.files:
            raise InputError("No genotype file is named.", mend="Name the file, such as cohort.bed, as a further file.")
        return self.layout.files

    @property
    def _own_table(self) -> bool:
        return any(self.layout.table in self.companions(name) for name in self._files)

    @property
    def _link(self) -> str:
        """The column of the record table that holds the samples' ids."""
        names = records.schema_of(self._table).names
        ids = (self.layout.patient_id, self.layout.record_id)
        require_columns(self._table, names, ids, mend="Name the id columns as the table does.")
        if not self._own_table:
            if Path(self.layout.table).suffix in {".fam", ".psam"}:
                raise InputError(
                    f"{self.layout.table} belongs to none of the genotype files.",
                    mend="Name the .fam or .psam beside the genotypes, or a table in CSV, TSV or Parquet.",
                )
            return self.layout.record_id or self.layout.patient_id
        if IID not in {self.layout.patient_id, self.layout.record_id}:
            raise InputError(
                f"Column {IID} of {self.layout.table} is neither the patient id nor the record id.",
                mend=f"Name it with --record-id {IID}.",
            )
        return IID

    def _people(self, name: str) -> tuple[list[str], Indices]:
        """The samples of a file, and the index of each record's own."""
        samples, link = self.samples(name), self._link
        place = {sample: i for i, sample in enumerate(samples)}
        if len(place) < len(samples):
            raise InputError(f"{self.folder / name} has two samples of one id.", mend="Give every sample its own id.")
        words = records.ids(self._table, link)
        if link != self.layout.patient_id and len(set(words)) < len(words):
            raise InputError(
                f"Column {link!r} of {self._table} names a sample twice.", mend="Keep one record per sample."
            )
        found = [place.get(word, -1) if word is not None else -1 for word in words]
        if lost := found.count(-1):
            raise InputError(
                f"{lost} records of {self._table} have no sample in {self.folder / name}.",
                mend=f"Take them out of the table, or correct column {link!r}.",
            )
        return samples, np.array(found, dtype=np.int64)

    def _names(self) -> list[list[str]]:
        """What the variants of each file are called."""
        files = self._files
        ids = [[variant.id for variant in self.variants(name)] for name in files]
        often = Counter(id_ for part in ids for id_ in part)
        if "." in often or len(often) < sum(map(len, ids)):
            for at, name in enumerate(files):
                ids[at] = [
                    f"{v.chrom}:{v.pos}:{v.ref}:{v.alt}" if v.id == "." or often[v.id] > 1 else v.id
                    for v in self.variants(name)
                ]
            often = Counter(name for part in ids for name in part)
        if len(often) < sum(map(len, ids)):
            raise InputError(
                f"Two variants in {self.folder} have one id, position and alleles.",
                mend="Drop one: plink2 --rm-dup force-first.",
            )
        if not all(len(name) <= _LONGEST_NAME and name.isprintable() for name in often):
            raise InputError(
                f"A variant in {self.folder} has an id that is too long (over {_LONGEST_NAME}) or cannot be printed.",
                mend="Name it: plink2 --set-all-var-ids.",
            )
        return ids

    def _chosen(self, wanted: Wanted) -> list[Indices | None]:
        """Indices of the wanted variants of each file; None for all, so that no id is held in memory."""
        if wanted.features == ALL:
            return [None for _ in self._files]
        names = self._names()
        flat = np.array(chosen_features([n for part in names for n in part], wanted, str(self.folder)), dtype=np.int64)
        ends = np.cumsum([len(part) for part in names])
        pieces = np.split(flat, np.searchsorted(flat, ends[:-1]))
        return [piece - (end - len(part)) for piece, end, part in zip(pieces, ends, names, strict=True)]


class TrioKind(GenotypeKind):
    """PLINK's files: genotypes, and tables of variants and of samples beside them."""

    def samples(self, name: str) -> list[str]:
        """Column IID of the samples' table."""
        path = self._beside(name, 2)
        return filled(records.ids(path, IID), path)

    def _beside(self, name: str, which: int) -> Path:
        return inside(self.folder, self.companions(name)[which])


def without_kin(table: pa.Table, layout: Layout, words: list[str], word: Callable[[str], str]) -> pa.Table:
    """A .fam or .psam with its further ids hidden: FID is the sample's word, parents and SID have pseudonyms."""
    for at, name in enumerate(table.column_names):
        if name in {layout.patient_id, layout.record_id} or name not in {"FID", "SID", "PAT", "MAT"}:
            continue
        shown = [v if v in {None, "0"} else word(v) for v in table.column(at).to_pylist()]
        table = table.set_column(at, name, pa.array(words if name == "FID" else shown, pa.string()))
    return table


def companion(name: str, suffix: str, other: str) -> str:
    """The file of the same stem.

    Raises:
        InputError: The name has not the suffix that it should.
    """
    if not name.endswith(suffix):
        raise InputError(f"{name} does not end in {suffix}.", mend="Name the file with the genotypes.")
    return str(PurePosixPath(name).with_suffix(other))


def filled(ids: Sequence[str | None], path: Path) -> list[str]:
    """The ids, all of which are there.

    Raises:
        InputError: One is missing.
    """
    if None in ids:
        raise InputError(f"{path} has a sample without an id.", mend=f"Fill column {IID}.")
    return [id_ for id_ in ids if id_ is not None]


def chunks(variants: int, people: int, keep: Indices | None) -> Iterator[tuple[int, int, Indices | slice]]:
    """Runs of variants that fit in memory, and which of each are kept; runs without any are left out."""
    step = max(16, _CALLS_AT_ONCE // max(1, people))
    for start in range(0, variants, step):
        stop = min(start + step, variants)
        if keep is None:
            yield start, stop, slice(None)
            continue
        low, high = np.searchsorted(keep, (start, stop))
        if low < high:
            yield start, stop, keep[low:high] - start


def kept(rows: Iterable[T], keep: Indices | None) -> Iterator[T]:
    """Those rows, of a file that is read to its end."""
    if keep is None:
        yield from rows
        return
    wanted = iter([*keep.tolist(), -1])
    following = next(wanted)
    for at, row in enumerate(rows):
        if at == following:
            yield row
            following = next(wanted)
