"""How a data store is laid out, and what of it an approval lets an app see: frozen values, no files touched."""

from collections.abc import Mapping
from dataclasses import dataclass

from flame_fl.contract.data_terms import DataStore, KindName
from flame_fl.contract.errors import InputError

__all__ = ["ALL", "KindName", "Layout", "Wanted", "layout_of", "wanted_of"]

ALL = ("*",)


@dataclass(frozen=True)
class Layout:
    """Where a store's records are and how they belong to patients.

    Attributes:
        kind: Which class reads it.
        table: The file with one row per record, relative to the store's folder. A record is a visit, a sample, an
            image: a patient may have several.
        patient_id: Its column that says whose the record is.
        record_id: Its column that names the record in the store's further files; None where there are none, or where
            they name patients.
        files: Further files of the store that belong to the records: matrices, genotypes, tables.
    """

    kind: KindName
    table: str
    patient_id: str
    record_id: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What of a store an app may see. Nothing that is not named here is in its view; the patient id always is.

    Attributes:
        columns: Of the record table; `ALL` for every one.
        features: Genes, CpGs, variants, columns of further tables; `ALL` for every one.
        modalities: Of images; `ALL` for every one.
    """

    columns: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()

    def column(self, name: str) -> bool:
        """Whether a column of the record table is to be seen."""
        return self.columns == ALL or name in self.columns


def layout_of(stated: DataStore) -> Layout:
    """The layout that an analysis expects."""
    return Layout(stated.kind, stated.table, stated.patient_id, stated.record_id, stated.files)


def wanted_of(stated: DataStore, bundle: Mapping[str, bytes]) -> Wanted:
    """What an analysis asks to see; a list of features may be a file of its bundle.

    Raises:
        InputError: That file is not in the bundle, or is no list of names.
    """
    features = stated.features
    if stated.features_file is not None:
        try:
            lines = bundle[stated.features_file].decode().splitlines()
        except (KeyError, UnicodeDecodeError):
            raise InputError(
                f"The bundle has no text file {stated.features_file!r} with features.",
                mend="Name a file inside the app, one feature per line.",
            ) from None
        features = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
        if "*" in features:  # a steward reads it in the terms, or it is not asked for
            raise InputError(
                f"{stated.features_file!r} asks for every feature.", mend='State features = ["*"] in the terms.'
            )
    return Wanted(stated.columns, features, stated.modalities)
