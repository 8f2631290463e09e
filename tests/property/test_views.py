"""Blocks of patients: disjoint, complete, and none of them knows of the others.

Every store is cut as the gate cuts it, through an `Offer`: filter, consent, opt-outs, then one view per block. The
promise behind differential privacy is that a patient is in one block only: take the patient out, and every other
block's view is the same, bit for bit.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.data_terms import Condition, DataStore
from flame_fl.data.cohort import same_id
from flame_fl.data.disguise import block_of, derived_key
from flame_fl.data.kind import open_kind
from flame_fl.data.layout import layout_of, wanted_of
from flame_fl.data.mock import make
from flame_fl.data.offer import STORE_FILE, Offer
from flame_fl.data.patients import PatientRegister
from flame_fl.data.schema import Column, Features, Picture, StoreSchema
from flame_fl.data.spec import CohortRule, ConsentRule
from tests.support.genotypes import everything

KEY = b"n" * 32
BLOCK_KEY = derived_key(KEY, "blocks")
TODAY = date(2026, 6, 1)
PROJECT = "a-project"

Views = dict[int, dict[str, bytes]]


@dataclass(frozen=True)
class Blocks:
    """A store cut into views, one per block.

    Attributes:
        views: By block: each file's bytes.
        patients: By block: whose records its view holds, under pseudonyms, record by record.
        of: The block of each patient of the cohort.
        cohort: Pseudonyms of the cohort, record by record.
    """

    views: Views
    patients: Mapping[int, list[str | None]]
    of: Mapping[str, int]
    cohort: list[str]


def cut(offer: Offer, stated: DataStore, count: int, into: Path) -> Blocks:
    """Cut a store into so many blocks, as the gate would."""
    cohort = offer.cohort(stated, TODAY)
    owners = offer.kind(stated).patients()
    names = [str(owners[row]) for row in cohort.rows]
    blocks = np.array([block_of(BLOCK_KEY, same_id(name)[1], count) for name in names], dtype=np.int64)
    parts = offer.blocks(cohort, stated, count, BLOCK_KEY)
    assert [part.tolist() for part in parts] == [cohort.rows[blocks == block].tolist() for block in range(count)]
    intos = [into / str(block) for block in range(count)]
    offer.views(parts, stated, wanted_of(stated, {}), PROJECT, intos)
    views: Views = {}
    patients: dict[int, list[str | None]] = {}
    for block, folder in enumerate(intos):
        views[block] = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        patients[block] = open_kind(folder, layout_of(stated)).patients()
    disguise = offer.disguise(PROJECT)
    return Blocks(views, patients, dict(zip(names, blocks.tolist(), strict=True)), [disguise.patient(n) for n in names])


def require_partition(blocks: Blocks) -> None:
    """The union of the views is the cohort, and no patient is in two of them."""
    assert Counter(p for held in blocks.patients.values() for p in held) == Counter(blocks.cohort)
    homes = Counter(p for held in blocks.patients.values() for p in set(held))
    assert set(homes.values()) <= {1}


def require_one_change(before: Blocks, after: Blocks, gone: str) -> None:
    """Without this patient exactly one view is another one; if nobody knew the patient, none is."""
    changed = [block for block, view in before.views.items() if after.views[block] != view]
    assert changed == ([before.of[gone]] if gone in before.of else [])
    assert gone not in after.of


# --- tables, of every shape that hypothesis thinks of ----------------------------------------------------------------

HIDDEN = "h1dd3n"
PEOPLE = ["p1", "007", "8", "Ä,b", 'q"t', "x y", "zz", "p2", "p3"]


@dataclass(frozen=True)
class Row:
    """A visit."""

    person: str | None
    age: int | None
    consent: str | None


@dataclass(frozen=True)
class Table:
    """What is in a store, and how it is written."""

    rows: tuple[Row, ...]
    suffix: str
    further: bool

    def without(self, person: str) -> "Table":
        """Without one patient, who is still named nowhere; the other records keep their names."""
        return replace(self, rows=tuple(replace(r, person="") if r.person == person else r for r in self.rows))

    @property
    def stated(self) -> DataStore:
        """What an analysis asks for: adults, two columns of four."""
        return DataStore(
            table=f"visits{self.suffix}",
            patient_id="pid",
            record_id="visit",
            columns=("age", "day"),
            files=(f"labs{self.suffix}",) if self.further else (),
            features=("hb",) if self.further else (),
            where=(Condition(column="age", op=">=", value=18),),
        )

    def write(self, folder: Path) -> None:
        """As a hospital's export has it. A patient who was taken out has no row at all."""
        kept = [(i, row) for i, row in enumerate(self.rows) if row.person != ""]
        visits = {
            "pid": pa.array([row.person for _, row in kept], pa.string()),
            "visit": pa.array([f"v1sit-{i}" for i, _ in kept], pa.string()),
            "age": pa.array([row.age for _, row in kept], pa.int64()),
            "day": pa.array([date(2020, 1, 1 + i % 28) for i, _ in kept], pa.date32()),
            "consent": pa.array([row.consent for _, row in kept], pa.string()),
            "unapproved": pa.array([f"{HIDDEN}{i}" for i, _ in kept], pa.string()),
        }
        self._put(folder / f"visits{self.suffix}", visits)
        labs = {
            "visit": pa.array([f"v1sit-{i}" for i, _ in kept], pa.string()),
            "hb": pa.array([i / 3 for i, _ in kept], pa.float64()),
            "other": pa.array([f"{HIDDEN}{i}" for i, _ in kept], pa.string()),
        }
        self._put(folder / f"labs{self.suffix}", labs)

    def _put(self, path: Path, columns: dict[str, pa.Array]) -> None:
        if self.suffix == ".parquet":
            pq.write_table(pa.table(columns), path)
            return
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="," if self.suffix == ".csv" else "\t")
            writer.writerow(columns)
            for row in zip(*(column.to_pylist() for column in columns.values()), strict=True):
                writer.writerow(["" if value is None else value for value in row])


ROWS = st.builds(
    Row,
    st.one_of(st.none(), st.sampled_from(PEOPLE)),
    st.one_of(st.none(), st.integers(10, 90)),
    st.sampled_from(["yes", "yes", "yes", "no", None]),
)
TABLES = st.builds(
    Table, st.lists(ROWS, max_size=14).map(tuple), st.sampled_from([".csv", ".tsv", ".parquet"]), st.booleans()
)


def table_offer(table: Table, folder: Path, register: PatientRegister) -> Offer:
    """The store of such a table; the steward asks for consent and hides who it is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table.write(folder)
    rule = CohortRule(consent=ConsentRule(column="consent", granted=("yes",)))
    layout = layout_of(table.stated)
    return Offer("visits", folder, "s", layout, rule, "r", register, KEY, pseudonyms=True, shift_days=30)


@settings(max_examples=60)
@given(table=TABLES, out=st.sets(st.sampled_from(PEOPLE), max_size=2), gone=st.sampled_from(PEOPLE), data=st.data())
def test_blocks_of_tables(tmp_path: Path, table: Table, out: set[str], gone: str, data: st.DataObject) -> None:
    """Complete, disjoint, and blind to each other; whether a patient opts out or was never in the store."""
    count = data.draw(st.integers(1, 4), "blocks")
    place = tmp_path / "example"
    shutil.rmtree(place, ignore_errors=True)
    register = PatientRegister(place / "patients")
    register.opt_out(out)
    whole = cut(table_offer(table, place / "whole", register), table.stated, count, place / "views")
    allowed = [
        row
        for row in table.rows
        if row.person is not None and row.person not in out and row.consent == "yes" and (row.age or 0) >= 18
    ]
    assert len(whole.cohort) == len(allowed)
    assert set(whole.of) == {row.person for row in allowed}
    require_partition(whole)
    never = cut(table_offer(table.without(gone), place / "never", register), table.stated, count, place / "never-views")
    require_one_change(whole, never, gone)
    register.opt_out([gone])
    withdrawn = cut(table_offer(table, place / "whole", register), table.stated, count, place / "withdrawn-views")
    require_one_change(whole, withdrawn, gone)
    assert withdrawn.views == never.views
    for blocks in (whole, never, withdrawn):
        require_nothing_unapproved(blocks, table, place)


def require_nothing_unapproved(blocks: Blocks, table: Table, place: Path) -> None:
    """No other column in any form: not its name, not a value, not an id; and the columns that there are."""
    for block, view in blocks.views.items():
        content = b"\n".join(view.values())
        for word in (HIDDEN, "unapproved", "consent", "other", "v1sit"):
            assert word.encode() not in content, (block, word)
        assert set(view) == {STORE_FILE, *table.stated.files, table.stated.table}
        assert columns_of(view[table.stated.table], table.suffix, place) == ["pid", "visit", "age", "day"]
        if table.further:
            assert columns_of(view[table.stated.files[0]], table.suffix, place) == ["visit", "hb"]


def columns_of(content: bytes, suffix: str, place: Path) -> list[str]:
    if suffix == ".parquet":
        return pq.read_table(pa.BufferReader(content)).column_names  # type: ignore[no-any-return]
    (place / "one").write_bytes(content)
    with (place / "one").open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file, delimiter="," if suffix == ".csv" else "\t"))


def test_a_view_that_counted_the_whole_cohort_would_be_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: with the number of all records in every view, more than one block changes."""
    table = Table(tuple(Row(person, 40, "yes") for person in PEOPLE), ".csv", further=False)
    register = PatientRegister(tmp_path / "patients")
    real = Offer.views

    def counts(self: Offer, parts: Any, stated: DataStore, wanted: Any, project: str, intos: Any) -> None:
        real(self, parts, stated, wanted, project, intos)
        for into in intos:
            (into / "count").write_text(str(len(self.cohort(stated, TODAY).rows)))

    monkeypatch.setattr(Offer, "views", counts)
    offer = table_offer(table, tmp_path / "store", register)
    whole = cut(offer, table.stated, 4, tmp_path / "a")
    register.opt_out(["p1"])
    with pytest.raises(AssertionError):
        require_one_change(whole, cut(offer, table.stated, 4, tmp_path / "b"), "p1")


# --- the other kinds, with what their own mock data are --------------------------------------------------------------

COLUMNS = (
    Column(name="pid", type="string"),
    Column(name="sample", type="string"),
    Column(name="sex", type="string", values=("f", "m", "d")),
    Column(name="age", type="int", min=18, max=90),
    Column(name="unapproved", type="string", values=(f"{HIDDEN}1", f"{HIDDEN}2", f"{HIDDEN}3")),
)
VARIANTS = tuple(f"1:{at}:A:G" for at in range(101, 141, 4))


@dataclass(frozen=True)
class Made:
    """A made-up store of one kind, and what an analysis asks of it."""

    schema: StoreSchema
    stated: DataStore


def made(kind: str, table: str, file: str | None, **more: Any) -> Made:
    """Of a kind: its table, and the file that has its features, if it has one."""
    features: tuple[Features, ...] = ()
    if file is not None:
        dosages = {} if kind == "anndata" else {"type": "int", "min": 0, "max": 2}
        features = (Features(file=file, names=VARIANTS, missing=0.1, **dosages),)
    files = () if file in {None, table} else (file,)
    ids: dict[str, Any] = {"kind": kind, "table": table, "patient_id": "pid", "record_id": "sample"}
    schema = StoreSchema(**ids, files=files, columns=COLUMNS, features=features, **more)
    asked: dict[str, Any] = {"features": VARIANTS[2:6]} if file is not None else {"modalities": ("MR", "OP")}
    where = (Condition(column="age", op=">=", value=30),)
    return Made(schema, DataStore(**ids, files=files, columns=("sex",), where=where, **asked))


PICTURES = (
    Picture(modality="MR", format="nifti", shape=(3, 4, 5), bits=16),
    Picture(modality="OP", format="png", shape=(4, 3)),
    Picture(modality="DX", format="dicom", shape=(6, 5), bits=16),
)
MADE: dict[str, Callable[[], Made]] = {
    "anndata": lambda: made("anndata", "cells.h5ad", "cells.h5ad"),
    "zarr": lambda: made("anndata", "cells.zarr", "cells.zarr"),
    "plink": lambda: made("plink", "samples.csv", "geno.bed"),
    "pgen": lambda: made("pgen", "samples.parquet", "geno.pgen"),
    "vcf": lambda: made("vcf", "samples.csv", "geno.vcf.gz"),
    "images": lambda: made("images", "manifest.csv", None, pictures=PICTURES),
    "table": lambda: made("table", "visits.csv", "labs.parquet"),
}


@pytest.mark.parametrize("kind", list(MADE))
def test_blocks_of_every_kind(tmp_path: Path, kind: str) -> None:
    """The same promise for made-up stores of each kind: four patients withdraw, one after the other."""
    stated, schema = MADE[kind]().stated, MADE[kind]().schema
    make(schema, 40, 3, tmp_path / "store")
    register = PatientRegister(tmp_path / "patients")
    offer = Offer("s", tmp_path / "store", "s", layout_of(stated), CohortRule(), "r", register, KEY, pseudonyms=True)
    before = cut(offer, stated, 3, tmp_path / "whole")
    assert 10 < len(before.of) < 32  # some are younger than thirty
    require_partition(before)
    for number, gone in enumerate(sorted(before.of)[:4]):
        register.opt_out([gone])
        after = cut(offer, stated, 3, tmp_path / f"without-{number}")
        require_partition(after)
        require_one_change(before, after, gone)
        before = after
    shown = b"\n".join(everything(tmp_path / "whole" / str(block)) for block in range(3))
    for word in ("unapproved", VARIANTS[0] if kind != "images" else "DX"):
        assert seen(word, shown) is False, word
    for word in (HIDDEN, "mock-", "record-0"):
        assert word.encode() not in shown, word
    approved = "OP" if kind == "images" else VARIANTS[2]
    if kind != "zarr":  # the control; a Zarr store's names are packed one by one
        assert seen(approved, shown)
        assert seen(VARIANTS[0] if kind != "images" else "DX", everything(tmp_path / "store"))


def seen(word: str, content: bytes) -> bool:
    """Whether it stands there in one piece, or as the fields that a VCF and its likes part it into."""
    chrom, _, rest = word.partition(":")
    fields = "\t".join((chrom, rest.partition(":")[0])) if rest else word
    return word.encode() in content or f"\n{fields}\t".encode() in content
