"""The schema of a data store as its steward releases it: names, types, and only those values that a person wrote down.

A kind drafts one from its files (names and types, never a value), the steward adds categories and ranges from the
study's own documents, and mock data are drawn from it. It is the only thing about a store that a researcher is given.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from flame_fl.contract.canonical import digest
from flame_fl.contract.data_terms import FileName
from flame_fl.contract.errors import InputError
from flame_fl.contract.settings import faults
from flame_fl.contract.words import Frozen, ItemName, Moderate, Name, Scalar
from flame_fl.data.layout import KindName, Layout

ColumnType = Literal["bool", "int", "float", "string", "date", "timestamp", "other"]


class Column(Frozen):
    """A column of a table.

    `values` are its categories; `min` and `max` bound a number, or a date as days since 1970-01-01.
    """

    name: ItemName
    type: ColumnType
    unit: str = ""
    values: tuple[Scalar, ...] = ()
    min: Moderate | None = None
    max: Moderate | None = None
    missing: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of rows without a value, in mock data."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is greater than max")
        return self


class Features(Frozen):
    """A matrix beside the table: genes, CpGs, variants, or the columns of one further table."""

    file: FileName
    names: tuple[ItemName, ...]
    type: ColumnType = "float"
    min: Moderate | None = None
    max: Moderate | None = None
    missing: Annotated[float, Field(ge=0, le=1)] = 0.0


class Picture(Frozen):
    """One modality of an image store."""

    modality: Name
    format: Literal["png", "dicom", "nifti"]
    shape: tuple[Annotated[int, Field(ge=1, le=65536)], ...]
    """Rows and columns, or x, y and z."""
    bits: Literal[8, 16, 32] = 8


class StoreSchema(Frozen):
    """All that is said of a store."""

    schema_version: Literal[1] = 1
    kind: KindName
    table: FileName
    patient_id: ItemName
    record_id: ItemName | None = None
    files: tuple[FileName, ...] = ()
    columns: tuple[Column, ...]
    features: tuple[Features, ...] = ()
    pictures: tuple[Picture, ...] = ()

    @property
    def layout(self) -> Layout:
        """Where things are in such a store."""
        return Layout(self.kind, self.table, self.patient_id, self.record_id, self.files)

    @property
    def sha256(self) -> str:
        """Hash of its canonical JSON."""
        return digest(self.model_dump(mode="json"))


def drafted(
    layout: Layout,
    columns: Iterable[tuple[str, ColumnType]],
    features: Iterable[Mapping[str, object]] = (),
    pictures: Iterable[Picture] = (),
) -> StoreSchema:
    """A schema of names and types, as a kind finds them in its files.

    Raises:
        InputError: A name is empty, too long or not printable: pydantic's own error would quote it.
    """
    try:
        return StoreSchema(
            **asdict(layout),
            columns=tuple(Column(name=name, type=kind) for name, kind in columns),
            features=tuple(Features.model_validate(stated) for stated in features),
            pictures=tuple(pictures),
        )
    except ValidationError:
        raise InputError(
            "The store has a column or feature whose name is empty, too long, or not printable.",
            mend="Rename it, and write the file again.",
        ) from None


def read_schema(path: Path) -> StoreSchema:
    """A schema from a JSON file.

    Raises:
        InputError: It is none; the sentence names the field.
    """
    try:
        return StoreSchema.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as err:
        first = faults(err, StoreSchema)[0]
        if first.place:
            raise first.about(str(path)) from None
        raise InputError(f"{path}: {first.sentence}", mend="Begin with `flame node data schema NAME`.") from None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} cannot be read.", mend="Give a schema as JSON.") from None
