"""What a run found: tests of millions of variants on disk, chunk by chunk, and one shape for what the report shows.

`Associations` never holds more than one chunk. A chunk's file appears whole or not at all, so a run that was
interrupted goes on with the first chunk that has none.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flame_strategies.output import write_atomically

Table = dict[str, npt.NDArray[Any]]
"""Columns of one chunk by name, each (m,)."""

COLUMNS: Mapping[str, str] = {
    "index": "int32",
    "n": "int64",
    "alt_count": "float64",
    "beta": "float64",
    "se": "float64",
    "stat": "float64",
    "p": "float64",
    "log10p": "float64",
    "status": "int8",
    "test": "int8",
    "sites": "int16",
}
"""Place in the panel, increasing; samples with a call; copies of `alt` among them; the effect of one copy, its standard
error, t or z, p and -log10 p (there where p is below the smallest number), all NaN where there is no result; why not;
by which test; how many DIZ have the variant."""

OK, RARE, FEW_MISSING, FILTERED, CONSTANT, NOT_CONVERGED, FEW_SITES, FEW_HOMOZYGOTES = range(8)
STATUS = (
    "tested",
    "rare or absent: too few carriers",
    "so few calls are missing that their sums stay hidden",
    "left out by the quality control",
    "no variation that the covariates leave",
    "did not converge",
    "at too few DIZ",
    "too few people with one of the genotypes",
)
"""Why a variant has a result or none, by code."""

NO_TEST, LINEAR, LOGISTIC, FIRTH, TWO_STEP = range(5)
TESTS = ("none", "linear", "logistic", "Firth", "two-step")

NUMBERS = ("beta", "se", "stat", "p", "log10p")

_STAMP, _PREFIX, _ENDING = "associations.json", "associations-", ".parquet"


@dataclass(frozen=True)
class Outcome:
    """What an analysis found.

    Attributes:
        title: Of the report.
        headline: Entries of ``report.json``: label, value, note.
        figures: Entries of ``report.json``: file, title, caption.
        tables: Entries of ``report.json``: title, caption, columns, rows.
        notes: Sentences.
        sites: The nodes that the result is of.
        exchanges: How many messages each of them answered.
        numbers: Numbers by group and label, NaN where there is none.
        details: What is worth keeping beside the numbers, JSON values only.
    """

    title: str
    headline: tuple[Mapping[str, str], ...] = ()
    figures: tuple[Mapping[str, str], ...] = ()
    tables: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    sites: tuple[int, ...] = ()
    exchanges: int = 0
    numbers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Associations:
    """Tests by variant, in one file per chunk.

    Attributes:
        folder: Where the files are.
        sites: The nodes that the tests are of.
        exchanges: How many messages each of them answered.
        notes: Sentences about how they were made.
        samples: That they are of, 0 where it is not known.
        cases: Of a disease, how many of these are; 0 otherwise.
    """

    folder: Path
    sites: tuple[int, ...] = ()
    exchanges: int = 0
    notes: tuple[str, ...] = ()
    samples: int = 0
    cases: int = 0

    @classmethod
    def begin(cls, folder: Path, stamp: Mapping[str, Any]) -> "Associations":
        """Go on with what an interrupted run left in `folder`, or begin anew where that was of another question.

        Args:
            folder: Made if it is not there.
            stamp: All that the results depend on (settings, panel, chunk width, nodes ...), as JSON values.
        """
        folder.mkdir(parents=True, exist_ok=True)
        now = json.dumps(stamp, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        path = folder / _STAMP
        if not path.is_file() or path.read_bytes() != now:
            for part in _files(folder):
                part.unlink()
            write_atomically(path, now)
        return cls(folder)

    @property
    def done(self) -> frozenset[int]:
        """Starts of the chunks that are there."""
        return frozenset(_start(path) for path in _files(self.folder))

    def append(self, start: int, table: Mapping[str, npt.ArrayLike]) -> None:
        """Write one chunk, in place of an earlier one with the same start.

        Args:
            start: Its first place in the panel.
            table: All of `COLUMNS`, (m,) each, m of at least 1.

        Raises:
            ValueError: A column is missing or has another length, or the places are not increasing from `start` on.
        """
        import pyarrow as pa  # noqa: PLC0415 -- only for files
        import pyarrow.parquet as pq  # noqa: PLC0415

        if set(table) != set(COLUMNS):
            raise ValueError(f"A chunk has these columns, no more and no less: {', '.join(COLUMNS)}.")
        columns = {name: np.asarray(table[name]).astype(kind) for name, kind in COLUMNS.items()}
        index = columns["index"]
        if index.ndim != 1 or index.size == 0 or {column.shape for column in columns.values()} != {index.shape}:
            raise ValueError("The columns of a chunk are vectors of one length, and not empty.")
        if index[0] < start or (np.diff(index.astype(np.int64)) <= 0).any():
            raise ValueError("The places of a chunk increase, and begin at its start or later.")
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), buffer, compression="zstd")
        write_atomically(self.folder / f"{_PREFIX}{start:09d}{_ENDING}", buffer.getvalue().to_pybytes())

    def parts(self, columns: Iterable[str] = COLUMNS) -> Iterator[Table]:
        """The chunks by start, with some of their columns or all."""
        import pyarrow.parquet as pq  # noqa: PLC0415 -- only for files

        wanted = list(columns)
        for path in _files(self.folder):
            found = pq.read_table(path, columns=wanted, use_threads=False)
            yield {name: found.column(name).to_numpy() for name in wanted}

    def tested(self, columns: Iterable[str] = COLUMNS) -> Iterator[Table]:
        """As `parts`, with the variants alone that have a result."""
        wanted = list(columns)
        for part in self.parts(dict.fromkeys([*wanted, "status"])):
            kept = part["status"] == OK
            yield {name: part[name][kept] for name in wanted}

    @cached_property
    def tally(self) -> dict[int, int]:
        """Variants by status; counted once, when the run is complete."""
        counts = np.zeros(len(STATUS), dtype=np.int64)
        for part in self.parts(("status",)):
            counts += np.bincount(part["status"], minlength=len(STATUS))
        return dict(enumerate(counts.tolist()))


def group(labels: Iterable[str], values: npt.ArrayLike) -> dict[str, float]:
    """One group: values (k,) by label."""
    return dict(zip(labels, (float(v) for v in np.asarray(values, dtype=np.float64).ravel()), strict=True))


def text(value: float, digits: int = 4) -> str:
    """A number for people, a dash where there is none."""
    if not isfinite(value):
        return "–"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.{digits}g}"


def p_text(log10p: float) -> str:
    """A p value for people, from -log10 p; also one below the smallest floating-point number."""
    if not isfinite(log10p):
        return "–"
    power = int(np.ceil(log10p))
    lead = 10.0 ** (power - log10p)
    if lead >= 9.995:  # would be shown as 10.00
        power, lead = power - 1, lead / 10
    return f"{10.0**-log10p:.3g}" if log10p < 3 else f"{lead:.2f}e-{power:02d}"


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*{_ENDING}"), key=_start)


def _start(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX).removesuffix(_ENDING))
