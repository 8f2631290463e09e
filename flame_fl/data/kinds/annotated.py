"""AnnData: an .h5ad file or a .zarr folder. `obs` is the record table, the features are the names of `var`.

A view has `X`, the chosen columns of `obs`, and the names of the chosen features. Never in it: `uns`, `obsm`, `varm`,
`obsp`, `varp`, `layers`, `raw`, and the columns of `var`. They can tell of other records: clusterings, embeddings,
neighbours, means over the cohort.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.disguise import Disguise
from flame_fl.data.drawing import draw_table, range_of
from flame_fl.data.headers import require_columns
from flame_fl.data.kind import Rows
from flame_fl.data.kinds.annotated_frame import INDEX, Frame, frame_of, tag, write_frame
from flame_fl.data.kinds.annotated_matrix import Matrix, cut, matrix_of, write_dense
from flame_fl.data.kinds.annotated_open import folder_files, made, opened, reading, zarr_format
from flame_fl.data.layout import Layout, Wanted
from flame_fl.data.schema import Features, StoreSchema, drafted
from flame_fl.data.select import chosen_columns, chosen_features, disguised


@dataclass(frozen=True)
class _Open:
    """An open store, checked as far as its metadata go."""

    path: Path
    root: Any
    obs: Frame
    matrix: Matrix
    features: list[str]


@dataclass(frozen=True)
class AnnDataKind:
    """A folder with one AnnData store."""

    folder: Path
    layout: Layout

    def schema(self) -> StoreSchema:
        """Names and types. The index of `obs` is a column only where the layout says that it holds ids."""
        with self._open() as store:
            matrix = {"file": self.layout.table, "names": tuple(store.features), "type": store.matrix.type}
            return drafted(self.layout, [(name, store.obs.type(name)) for name in self._columns(store.obs)], [matrix])

    def patients(self) -> list[str | None]:
        """The patient id of each row of `obs`."""
        with self._open() as store:
            return self._patients(store.obs, None)

    def records(self, columns: Sequence[str]) -> pa.Table:
        """Columns of `obs`, or its index by its name."""
        with self._open() as store:
            return pa.table({name: store.obs.read(name) for name in columns})

    def snapshot(self) -> tuple[str, ...]:
        """The file, or all files of the folder."""
        with self._open() as store:
            files = folder_files(store.path) if store.path.is_dir() else [store.path]
            return tuple(sorted(file.relative_to(self.folder).as_posix() for file in files))

    def subset(self, rows: Rows, wanted: Wanted, disguise: Disguise, into: Path) -> None:
        """The same kind of store. Its index is the record's pseudonym, or else the number of the row in the view."""
        with self._open() as store:
            columns = chosen_columns(self._columns(store.obs), self.layout, wanted, str(store.path))
            features = np.array(chosen_features(store.features, wanted, str(store.path)), np.int64)
            patients = self._patients(store.obs, rows)

            def column(name: str) -> pa.Array:
                table = pa.table({name: store.obs.read(name, rows)})
                return disguised(table, self.layout, disguise, patients).column(0).combine_chunks()

            with made(into / self.layout.table, zarr_format(store.root)) as root:
                tag(root, "anndata", "0.1.0")
                index = _index(self.layout, len(rows), column)
                write_frame(root, "obs", index, ((name, column(name)) for name in columns if name != INDEX))
                write_frame(root, "var", [store.features[i] for i in features], ())
                cut(store.matrix, rows, features, root)

    @contextmanager
    def _open(self) -> Iterator[_Open]:
        if self.layout.files:
            raise InputError("An AnnData store has no further files.", mend="Name the .h5ad file or .zarr folder only.")
        with opened(self.folder, self.layout.table) as (path, root):
            obs, var = frame_of(path, root, "obs"), frame_of(path, root, "var")
            matrix = matrix_of(path, root, (obs.length, var.length))
            with reading(path):
                features = [str(name) for name in var.read(var.index).to_pylist()]
            if len(set(features)) != len(features):
                raise InputError(
                    f"{path} has two features of one name.", mend="Call var_names_make_unique() and write it again."
                )
            self._columns(obs)
            yield _Open(path, root, obs, matrix, features)

    def _columns(self, obs: Frame) -> list[str]:
        """Columns that can be asked for; an index without a meaning in the layout is none."""
        ids = [name for name in (self.layout.patient_id, self.layout.record_id) if name is not None]
        known = (obs.index, *obs.columns)
        require_columns(f"obs of {obs.path}", known, ids, mend="Name the id columns as obs does, or its index.")
        return [*([obs.index] if obs.index in ids else []), *obs.columns]

    def _patients(self, obs: Frame, rows: Rows | None) -> list[str | None]:
        name = self.layout.patient_id
        if obs.type(name) not in {"int", "string"}:
            raise InputError(
                f"obs column {name!r} of {obs.path} holds no ids.", mend="Name a column of text or whole numbers."
            )
        return records.named(obs.read(name, rows))

    @staticmethod
    def mock(schema: StoreSchema, rows: int, seed: int, into: Path) -> None:
        """A made-up store with a dense matrix."""
        if len(schema.features) != 1 or schema.features[0].file != schema.table:
            raise InputError("An AnnData store has one matrix, under its own name.", mend="Correct the schema.")
        if not schema.table.endswith((".h5ad", ".zarr")):
            raise InputError(f"{schema.table} is neither .h5ad nor .zarr.", mend="Correct the schema.")
        features, rng = schema.features[0], np.random.default_rng(seed)
        dtype, drawn = _drawer(features, rng)
        table = draw_table(schema, rows, rng)

        def values(down: slice, across: slice) -> Any:
            return drawn((down.stop - down.start, across.stop - across.start))

        def column(name: str) -> pa.Array:
            array = table.column(name).combine_chunks()
            return array.cast(pa.string()) if pa.types.is_temporal(array.type) else array

        with made(into / schema.table, 2) as root:
            tag(root, "anndata", "0.1.0")
            index = _index(schema.layout, rows, column)
            names = [name for name in table.column_names if name != INDEX]
            write_frame(root, "obs", index, ((name, column(name)) for name in names))
            write_frame(root, "var", features.names, ())
            write_dense(root, (rows, len(features.names)), dtype, values)


def _index(layout: Layout, rows: int, column: Any) -> list[str]:
    """The ids that the layout says are the index, else the records' names, else the numbers of the rows."""
    name = INDEX if INDEX in {layout.patient_id, layout.record_id} else layout.record_id
    if name is None:
        return [str(row) for row in range(rows)]
    return [text or "" for text in column(name).cast(pa.string()).to_pylist()]


def _drawer(features: Features, rng: np.random.Generator) -> tuple[np.dtype[Any], Any]:
    """The type of a made-up matrix, and what draws a block of it."""
    if features.type == "bool" and not features.missing:
        return np.dtype("?"), lambda shape: rng.random(shape) < 0.5
    low, high = range_of(features.type, features.min, features.max)
    if features.type == "float" and max(-low, high) < 1e38:
        return np.dtype("<f4"), lambda shape: np.where(
            rng.random(shape) < features.missing, np.nan, rng.uniform(low, high, shape)
        )
    first, last = np.ceil(low), np.floor(high)
    if features.type == "int" and not features.missing and first <= last and max(-first, last) < 2**62:
        return np.dtype("<i8"), lambda shape: rng.integers(int(first), int(last) + 1, shape)
    raise InputError(
        f"Features of {features.file} cannot be made up: their type, range or share of missing values.",
        mend='Make them "float", or "int" or "bool" with nothing missing, and check min and max.',
    )
