"""How a data store is laid out, and what of it an approval lets an app see: frozen values, no files touched."""

from dataclasses import dataclass
from typing import Literal

KindName = Literal["table", "anndata", "plink", "pgen", "vcf", "images"]
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
