"""Tables: CSV, TSV, Parquet. One record table, and further ones that belong to its records or to its patients.

A further table has the record table's `record_id` column, or its `patient_id` column; its other columns are features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.disguise import Disguise
from flame_fl.data.drawing import draw, draw_table
from flame_fl.data.headers import require_columns
from flame_fl.data.kind import Rows, inside, under
from flame_fl.data.layout import ALL, Layout, Wanted
from flame_fl.data.schema import Column, StoreSchema, drafted
from flame_fl.data.select import chosen_columns, chosen_features, disguised


@dataclass(frozen=True)
class TableKind:
    """A folder of tables."""

    folder: Path
    layout: Layout

    def schema(self) -> StoreSchema:
        """Names and types; the further tables' columns as features."""
        own = records.schema_of(self._table)
        self._require_ids(own.names)
        features = []
        for name in self.layout.files:
            schema = records.schema_of(inside(self.folder, name))
            linked = self._link(schema.names, name)
            rest = [field for field in schema if field.name != linked]
            types = {records.column_type(field.type) for field in rest}
            kind = types.pop() if len(types) == 1 else "other"
            features.append({"file": name, "names": tuple(field.name for field in rest), "type": kind})
        return drafted(self.layout, [(field.name, records.column_type(field.type)) for field in own], features)

    def patients(self) -> list[str | None]:
        """The patient id of each row."""
        return records.ids(self._table, self.layout.patient_id)

    def records(self, columns: Sequence[str]) -> pa.Table:
        """Columns of the record table."""
        return records.read(self._table, columns)

    def snapshot(self) -> tuple[str, ...]:
        """The record table and the further ones."""
        names = (self.layout.table, *self.layout.files)
        for name in names:
            inside(self.folder, name)
        return tuple(sorted(names))

    def subset(self, rows: Rows, wanted: Wanted, disguise: Disguise, into: Path) -> None:
        """Each table with its own rows, in its own order."""
        names = records.schema_of(self._table).names
        self._require_ids(names)
        columns = chosen_columns(names, self.layout, wanted, str(self._table))
        if self.layout.files and self.layout.record_id is not None:
            self._require_unique(self.layout.record_id)
        self._require_features(wanted)
        mask = np.zeros(int(rows[-1]) + 1 if len(rows) else 0, dtype=bool)
        mask[rows] = True
        kept: dict[str, set[str]] = {self.layout.patient_id: set(), self.layout.record_id or "": set()}
        owners: dict[str, str] = {}
        with records.Writer(under(into, self.layout.table)) as writer:
            start = 0
            for batch in records.batches(self._table, columns):
                here = mask[start : start + batch.num_rows]
                here = np.concatenate([here, np.zeros(batch.num_rows - len(here), dtype=bool)])
                start += batch.num_rows
                part = batch.filter(pa.array(here))
                self._note(part, kept, owners)
                writer.write(disguised(part, self.layout, disguise))
        for name in self.layout.files:
            self._cut(name, wanted, disguise, (kept, owners), under(into, name))

    def _require_unique(self, column: str) -> None:
        """Two patients under one record id would share what the further tables say of it."""
        named = [word for word in records.ids(self._table, column) if word is not None]
        if len(set(named)) < len(named):
            raise InputError(
                f"Record ids in {self.layout.table} occur more than once in {column!r}.",
                mend="Name a column whose values are unique.",
            )

    def _note(self, part: pa.Table, kept: dict[str, set[str]], owners: dict[str, str]) -> None:
        patients = part.column(self.layout.patient_id).cast(pa.string()).to_pylist()
        kept[self.layout.patient_id].update(p for p in patients if p is not None)
        if self.layout.record_id is not None:
            names = records.named(part.column(self.layout.record_id))
            owners.update((n, p) for n, p in zip(names, patients, strict=True) if n is not None and p is not None)
            kept[self.layout.record_id] = set(owners)

    def _cut(
        self,
        name: str,
        wanted: Wanted,
        disguise: Disguise,
        chosen_ids: tuple[dict[str, set[str]], dict[str, str]],
        to: Path,
    ) -> None:
        kept, owners = chosen_ids
        path = inside(self.folder, name)
        names = records.schema_of(path).names
        linked = self._link(names, name)
        rest = [n for n in names if n != linked]
        chosen = {rest[i] for i in chosen_features(rest, _wanted_in(wanted, rest, self.layout.files), str(path))}
        columns = [n for n in names if n == linked or n in chosen]
        both = linked != self.layout.patient_id and self.layout.patient_id in names
        read = [*columns, self.layout.patient_id] if both and self.layout.patient_id not in columns else columns
        with records.Writer(to) as writer:
            for batch in records.batches(path, read):
                words = batch.column(linked).cast(pa.string()).to_pylist()
                said = records.named(batch.column(self.layout.patient_id)) if both else [None] * len(words)
                # a row that says it is somebody else's is nobody's
                mine = [w in kept[linked] and p in {None, owners.get(w, p)} for w, p in zip(words, said, strict=True)]
                part = batch.select(columns).filter(pa.array(mine, pa.bool_()))
                words = [word for word, own in zip(words, mine, strict=True) if own]
                patients = words if linked == self.layout.patient_id else [owners[word] for word in words]
                writer.write(disguised(part, self.layout, disguise, patients))

    def _link(self, names: Sequence[str], name: str) -> str:
        for column in (self.layout.record_id, self.layout.patient_id):
            if column is not None and column in names:
                return column
        raise InputError(
            f"{self.folder / name} has neither the record id's column nor the patient id's.",
            mend="Name the column that links it with --record-id.",
        )

    def _require_features(self, wanted: Wanted) -> None:
        if wanted.features == ALL:
            return
        known = {n for name in self.layout.files for n in records.schema_of(inside(self.folder, name)).names}
        if missing := set(wanted.features) - known:
            raise InputError(
                f"No further table in {self.folder} has a feature {min(missing)!r}.",
                mend="Name features as the store's schema does.",
            )

    def _require_ids(self, names: Sequence[str]) -> None:
        ids = (self.layout.patient_id, self.layout.record_id)
        require_columns(self._table, names, ids, mend="Name the id columns as the table does.")

    @property
    def _table(self) -> Path:
        return inside(self.folder, self.layout.table)

    @staticmethod
    def mock(schema: StoreSchema, rows: int, seed: int, into: Path) -> None:
        """Made-up tables."""
        rng = np.random.default_rng(seed)
        table = draw_table(schema, rows, rng)
        records.write(under(into, schema.table), table)
        for features in schema.features:
            linked = schema.record_id or schema.patient_id
            ids = table.column(linked)
            if linked == schema.patient_id:
                ids = ids.unique()
            made: dict[str, object] = {linked: ids}
            for name in features.names:
                column = Column(
                    name=name, type=features.type, min=features.min, max=features.max, missing=features.missing
                )
                made[name] = draw(column, len(ids), rng)
            records.write(under(into, features.file), pa.table(made))


def _wanted_in(wanted: Wanted, names: Sequence[str], files: Sequence[str]) -> Wanted:
    """The part of the wanted features that this file could have: with several files each has some of them."""
    if len(files) < 2 or wanted.features == ALL:
        return wanted
    return Wanted(features=tuple(sorted(set(wanted.features) & set(names))))
