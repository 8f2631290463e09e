"""Made-up genotypes and the people who have them, drawn from a released schema and a seed."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flame_fl.contract.errors import InputError
from flame_fl.data.drawing import draw_table, ids_as
from flame_fl.data.kinds.genotypes import IID, Variant, chunks
from flame_fl.data.schema import Column, Features, StoreSchema

Calls = npt.NDArray[np.int8]


def draw_people(schema: StoreSchema, rows: int, seed: int, *, own: bool) -> tuple[pa.Table, list[str]]:
    """A made-up record table, and the samples that it names; `own` if it is a .fam or a .psam."""
    if own:
        schema = schema.model_copy(update={"columns": tuple(_plausible(column) for column in schema.columns)})
    table = draw_table(schema, rows, np.random.default_rng(seed))
    link = IID if own else schema.record_id or schema.patient_id
    if own:  # one row is one sample
        table = _put(table, IID, ids_as("string", "mock", np.arange(rows) + 1))
        for name in {"FID", "PAT", "MAT"} & set(table.column_names) - {schema.patient_id}:
            table = _put(table, name, table[IID] if name == "FID" else pa.array(["0"] * rows))
    return table, list(dict.fromkeys(table[link].cast(pa.string()).to_pylist()))


def draw_calls(features: Features, people: int, seed: int) -> Iterator[Calls]:
    """Made-up counts of the second allele, (variants, people) by runs of variants; -1 where there is none.

    Each variant has a frequency between 0.05 and 0.5, drawn from the seed and its index, and is in Hardy-Weinberg
    equilibrium.
    """
    rng = np.random.default_rng([seed, 1])
    frequency = np.random.default_rng([seed, 2]).uniform(0.05, 0.5, len(features.names))
    for start, stop, _ in chunks(len(features.names), people, None):
        f = frequency[start:stop, None]
        u = rng.random((stop - start, people))
        calls = (u < f * f + 2 * f * (1 - f)).astype(np.int8) + (u < f * f).astype(np.int8)
        calls[rng.random(u.shape) < features.missing] = -1
        yield calls


def draw_variants(features: Features) -> Iterator[Variant]:
    """Made-up places and alleles for the variants of a schema.

    Raises:
        InputError: A name cannot be an id.
    """
    for at, name in enumerate(features.names):
        if any(c.isspace() for c in name):
            raise InputError("A variant's name has a space in it.", mend="Name variants as genotype files do.")
        yield Variant("1", str(at + 1), name, "A", "G")


def _plausible(column: Column) -> Column:
    bare = not column.values and column.min is None and column.max is None
    return column.model_copy(update={"type": "int", "min": 1, "max": 2}) if bare and column.name == "SEX" else column


def _put(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, name, values)
