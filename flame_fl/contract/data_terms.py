"""`[tool.flame.data.NAME]`: which data an analysis reads, and conditions that somebody may put on rows."""

from datetime import date
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from flame_fl.contract.words import Frozen, ItemName, Scalar, Text

KindName = Literal["table", "anndata", "plink", "pgen", "vcf", "images"]
FILE_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.\-/]*$"
_ENDINGS = (".parquet", ".csv", ".tsv", ".fam", ".psam", ".h5ad", ".zarr")


def _relative(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name:
        raise ValueError("must be the plain name of a file inside the store")
    return name


FileName = Annotated[str, StringConstraints(pattern=FILE_PATTERN, max_length=255), AfterValidator(_relative)]


def _as_json_has_it(value: Scalar | date) -> Scalar | date:
    """A day as text: terms are stored as JSON, and what is read back must be equal to what was stated."""
    return value.isoformat() if isinstance(value, date) else value


Compared = Annotated[Scalar | date, AfterValidator(_as_json_has_it)]


class Condition(Frozen):
    """One condition on a column of the record table. A row without a value meets no condition but `missing`."""

    column: ItemName
    """Its name."""
    op: Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in", "present", "missing"]
    """How it is compared."""
    value: Compared | None = None
    """What is compared with; not for `in`, `not in`, `present` and `missing`."""
    values: tuple[Compared, ...] = ()
    """For `in` and `not in`."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        many, none = self.op in {"in", "not in"}, self.op in {"present", "missing"}
        if many != bool(self.values) or (self.value is None) == (not many and not none):
            raise ValueError(
                f'"{self.op}" needs {"values" if many else "neither value nor values" if none else "value"}'
            )
        return self

    def in_words(self) -> str:
        """For people."""
        shown = (
            ""
            if self.value is None and not self.values
            else f" {self.value if self.value is not None else list(self.values)}"
        )
        return f"{self.column} {self.op}{shown}"


class DataStore(Frozen):
    """A data store the analysis reads, and what of it. What is not named here is not in the app's view."""

    kind: KindName = "table"
    """How the store is read."""
    table: FileName
    """Its file with one row per record: .parquet, .csv, .tsv, .fam, .psam, .h5ad or .zarr."""
    patient_id: Text
    """The column that says whose a record is; patients are counted by it."""
    record_id: Text | None = None
    """The column that names a record in the store's further files."""
    columns: tuple[ItemName, ...]
    """Columns of the record table that the app sees beside the ids; ["*"] is every one."""
    files: tuple[FileName, ...] = ()
    """Further files that the app sees: matrices, genotypes, tables."""
    features: tuple[ItemName, ...] = ()
    """Genes, CpGs, variants, columns of further tables that the app sees; ["*"] is every one."""
    features_file: FileName | None = None
    """The same as a text file of the bundle, one name per line."""
    modalities: tuple[ItemName, ...] = ()
    """Of images that the app sees; ["*"] is every one."""
    where: tuple[Condition, ...] = ()
    """Only records that meet every condition."""
    min_patients: Annotated[int, Field(ge=1)] = 10
    """Fewer distinct patients than this, or than the node's own minimum, and nothing runs."""
    optional: bool = False
    """A DIZ that does not offer the store takes part without it: the app finds no folder of this name. What was absent
    when the analysis was approved stays absent until it is approved anew."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if not self.table.endswith(_ENDINGS):
            raise ValueError(f"table must end in one of {', '.join(_ENDINGS)}")
        if self.features and self.features_file is not None:
            raise ValueError("give features or features_file, not both")
        for name in ("columns", "features", "modalities"):
            if "*" in getattr(self, name) and len(getattr(self, name)) > 1:
                raise ValueError(f'{name}: "*" stands alone')
        return self
