"""Images: a folder of PNG, DICOM and NIfTI files, and a manifest with a row per image.

The manifest has the columns `path` (relative to the folder) and `modality`, and a view's manifest has them too. Names
of image files and ids often are patients' names: error texts name rows of the manifest instead, the first below the
header being row 1. In a view an image's name is a pseudonym of its own id, and its header a new one (see `dicom`,
`png`, `nifti`). What the pixels show is not looked at: a face can be rebuilt from a scan of a head.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.disguise import Disguise
from flame_fl.data.drawing import draw_table
from flame_fl.data.headers import require_columns
from flame_fl.data.kind import Rows, inside, under
from flame_fl.data.kinds import dicom, nifti, png
from flame_fl.data.layout import ALL, Layout, Wanted
from flame_fl.data.schema import Picture, StoreSchema, drafted
from flame_fl.data.select import chosen_columns, disguised

PATH, MODALITY = "path", "modality"
Format = Literal["png", "dicom", "nifti"]
_MOST_MODALITIES = 100
_LARGEST_MOCK = 1 << 28


@dataclass(frozen=True)
class ImagesKind:
    """A folder of images."""

    folder: Path
    layout: Layout

    def schema(self) -> StoreSchema:
        """Names and types, and a picture of each modality: its name, and format, shape and bits of its first image.

        These are of the data: a rare modality, or an odd shape, may point at one patient. The steward decides.
        """
        own = records.schema_of(self._table)
        self._require_columns(own.names)
        pictures: dict[str, Picture] = {}
        for row, name, modality in self._listed():
            if modality in pictures:
                continue
            if len(pictures) == _MOST_MODALITIES:
                raise InputError(
                    f"{self._table} has more than {_MOST_MODALITIES} values in column {MODALITY!r}.",
                    mend="Write words such as CT, MR or OP there.",
                )
            pictures[modality] = self._picture(row, name, modality)
        columns = [(field.name, records.column_type(field.type)) for field in own]
        return drafted(self.layout, columns, pictures=[pictures[modality] for modality in sorted(pictures)])

    def examine(self) -> None:
        """Look at the head of every image, as a view would: what no view can show is said before anybody waits for it.

        Raises:
            InputError: One is refused; the sentence names its row.
        """
        for row, name, modality in self._listed():
            self._picture(row, name, modality)

    def patients(self) -> list[str | None]:
        """The patient id of each row."""
        return records.ids(self._table, self.layout.patient_id)

    def records(self, columns: Sequence[str]) -> pa.Table:
        """Columns of the manifest."""
        return records.read(self._table, columns)

    def snapshot(self) -> tuple[str, ...]:
        """The manifest and every image that it names."""
        self._require_columns(records.schema_of(self._table).names)
        names: set[str] = set()
        for row, name, _ in self._listed():
            self._file(row, name)
            self._note(row, Path(name).as_posix(), names)
        return tuple(sorted({self.layout.table, *names}))

    def subset(self, rows: Rows, wanted: Wanted, disguise: Disguise, into: Path) -> None:
        """The images of the wanted modalities among these rows, each under a new name, and their manifest."""
        numbers, table = self._chosen(rows, wanted)
        ids = [None] * len(numbers) if self.layout.record_id is None else _words(table, self.layout.record_id)
        owners = _words(table, self.layout.patient_id)
        seen: set[str] = set()
        names = []
        for number, path, own, owner in zip(numbers, _words(table, PATH), ids, owners, strict=True):
            source = self._file(number, path)
            self._note(number, Path(path or "").as_posix(), seen)
            form, name = self._format(number, source), path or ""
            if disguise.key is not None:
                name = _new_name(form, source, own or name, disguise)
                self._note(number, name, seen)
            self._write(number, form, source, under(into, name), disguise=disguise, owner=owner)
            names.append(name)
        view = disguised(table, self.layout, disguise)
        if disguise.key is not None:
            view = view.set_column(view.column_names.index(PATH), PATH, pa.array(names, pa.string()))
        records.write(under(into, self.layout.table), view)

    def _chosen(self, rows: Rows, wanted: Wanted) -> tuple[list[int], pa.Table]:
        """The rows of a view's manifest, and which they are.

        A modality that none of them has is no error: whether any patient at all has it is not this view's to tell.
        """
        names = records.schema_of(self._table).names
        self._require_columns(names)
        asked = chosen_columns(names, self.layout, wanted, str(self._table))
        columns = [name for name in names if name in asked or name in {PATH, MODALITY}]
        parts, numbers, start = [], [], 0
        for batch in records.batches(self._table, columns):
            low, high = np.searchsorted(rows, (start, start + batch.num_rows))
            part = batch.take(pa.array(rows[low:high] - start))
            kept = []
            for row, modality in zip(rows[low:high].tolist(), _words(part, MODALITY), strict=True):
                self._require(row, modality, MODALITY)
                kept.append(wanted.modalities == ALL or modality in wanted.modalities)
                numbers.extend([row] if kept[-1] else [])
            parts.append(part.filter(pa.array(kept, pa.bool_())))
            start += batch.num_rows
        table = pa.concat_tables(parts) if parts else records.read(self._table, columns, typed=False)
        return numbers, table

    def _listed(self) -> Iterator[tuple[int, str, str]]:
        row = 0
        for batch in records.batches(self._table, (PATH, MODALITY)):
            for name, modality in zip(_words(batch, PATH), _words(batch, MODALITY), strict=True):
                yield row, self._require(row, name, PATH), self._require(row, modality, MODALITY)
                row += 1

    def _picture(self, row: int, name: str, modality: str) -> Picture:
        source = self._file(row, name)
        form = self._format(row, source)
        try:
            shape, bits = {"png": png.look, "dicom": dicom.look, "nifti": nifti.look}[form](source)
            return Picture.model_validate({"modality": modality, "format": form, "shape": shape, "bits": bits})
        except InputError as err:
            raise self._bad(row, err.message, err.mend) from None
        except ValidationError:
            raise self._bad(
                row,
                "Its modality is no plain word, or its sides or bits are unusual.",
                "Name modalities by letters and digits.",
            ) from None

    def _write(self, row: int, form: Format, source: Path, to: Path, *, disguise: Disguise, owner: str | None) -> None:
        try:
            match form:
                case "png":
                    to.write_bytes(png.cleaned(source))
                case "dicom":
                    patient = "" if owner is None else disguise.patient(owner)
                    to.write_bytes(dicom.cleaned(source, patient, lambda uid: _new_uid(uid, disguise)))
                case "nifti":
                    nifti.copy_clean(source, to)
        except InputError as err:
            raise self._bad(row, err.message, err.mend) from None

    def _format(self, row: int, source: Path) -> Format:
        suffix = _suffix(source)
        if suffix == ".png":
            return "png"
        if suffix in {".nii", ".nii.gz"}:
            return "nifti"
        try:
            if suffix == ".dcm" or dicom.is_dicom(source):  # archives name images by UIDs, which have no ending
                return "dicom"
        except OSError:  # its text names the file
            raise self._bad(row, "The image cannot be read.", "Correct its permissions.") from None
        raise self._bad(row, "The image is neither PNG, DICOM nor NIfTI.", "Convert it, or take it out.")

    def _file(self, row: int, name: str | None) -> Path:
        try:
            path = inside(self.folder, self._require(row, name, PATH))
            if path.is_file() and os.access(path, os.R_OK):
                return path
        except (InputError, OSError, ValueError):  # their texts hold the name
            pass
        raise self._bad(
            row, "There is no such image, or it is no file, or a link, or outside the store.", "Correct the manifest."
        ) from None

    def _note(self, row: int, name: str, seen: set[str]) -> None:
        if name in seen:
            raise self._bad(row, "An image, or its id, is listed twice.", "List each image once.")
        seen.add(name)

    def _require(self, row: int, value: str | None, column: str) -> str:
        if not value:
            raise self._bad(row, f"Nothing is in column {column!r}.", "Fill it in.")
        return value

    def _bad(self, row: int, what: str, mend: str) -> InputError:
        return InputError(f"Row {row + 1} of {self.folder / self.layout.table}: {what}", mend=mend)

    def _require_columns(self, names: Sequence[str]) -> None:
        needed = (PATH, MODALITY, self.layout.patient_id, self.layout.record_id)
        require_columns(self._table, names, needed, mend="A manifest needs path, modality and the id columns.")
        if self.layout.files or self.layout.patient_id in {PATH, MODALITY} or self.layout.record_id == MODALITY:
            raise InputError(
                "A store of images has no further files, and ids are in columns of their own.",
                mend="Leave --file out, and name other columns.",
            )

    @property
    def _table(self) -> Path:
        return inside(self.folder, self.layout.table)

    @staticmethod
    def mock(schema: StoreSchema, rows: int, seed: int, into: Path) -> None:
        """Made-up images of the schema's pictures, as many of each, and a manifest."""
        if not schema.pictures:
            raise InputError("The schema has no pictures.", mend="List each modality's format, shape and bits.")
        rng = np.random.default_rng(seed)
        table = draw_table(schema, rows, rng)
        owners = _words(table, schema.patient_id)
        drawn = [schema.pictures[i] for i in rng.integers(0, len(schema.pictures), rows)]
        names = []
        for at, (picture, owner) in enumerate(zip(drawn, owners, strict=True)):
            suffix = {"png": ".png", "dicom": ".dcm", "nifti": ".nii.gz"}[picture.format]
            names.append(f"images/{at + 1:06d}{suffix}")
            _draw(picture, rng, owner or "", under(into, names[-1]))
        for column, words in ((PATH, names), (MODALITY, [picture.modality for picture in drawn])):
            if column in table.column_names:
                table = table.drop_columns(column)
            table = table.append_column(column, pa.array(words, pa.string()))
        records.write(under(into, schema.table), table)


def _draw(picture: Picture, rng: np.random.Generator, owner: str, to: Path) -> None:
    if int(np.prod(picture.shape, dtype=np.float64)) > _LARGEST_MOCK:
        raise InputError(f"A picture has more than {_LARGEST_MOCK:,} values.", mend="Correct the schema's pictures.")
    if picture.format == "nifti":
        kind = {8: np.uint8, 16: np.int16, 32: np.float32}[picture.bits]
        return nifti.write_made((rng.random(picture.shape, np.float32) * 200).astype(kind), to)
    colour = len(picture.shape) == 3 and (picture.shape[2] == 3 or picture.format == "png")
    if picture.bits == 32 or not (len(picture.shape) == 2 or colour):
        raise InputError(
            f"A {picture.format} picture has rows, columns and perhaps colours, of 8 or 16 bits.",
            mend="Correct the schema's pictures.",
        )
    pixels = rng.integers(0, 1 << picture.bits, picture.shape, np.uint8 if picture.bits == 8 else np.uint16)
    uid = f"2.25.{int.from_bytes(rng.bytes(10), 'big')}"
    to.write_bytes(png.made(pixels) if picture.format == "png" else dicom.made(pixels, picture.modality, owner, uid))
    return None


def _new_name(form: Format, source: Path, own: str, disguise: Disguise) -> str:
    suffix = {"png": ".png", "dicom": ".dcm", "nifti": _suffix(source)}[form]
    return f"images/{disguise.record(own)}{suffix}"


def _new_uid(uid: str, disguise: Disguise) -> str:
    """A UID in the place of another (PS3.5, B.2), the same one wherever that one stands."""
    return uid if disguise.key is None else f"2.25.{int(disguise.record(f'uid {uid}'), 16)}"


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def _words(table: pa.Table, column: str) -> list[str | None]:
    words: list[str | None] = table.column(column).cast(pa.string()).to_pylist()
    return words
