"""A DIZ's data store read into a `Site`, once while its files do not change.

A data store is a folder, written by `python -m gwas prepare`, or a DIZ's own:

* ``samples.parquet``: one row per sample: ``sample_id``, ``patient_id``, optionally ``sex`` (1 male, 2 female, as PLINK
  has it), ``split`` ("train" or "test"; without it all rows train), and further columns. Numbers and true/false become
  `Site.numbers`; a column with declared levels, of words or numbers, becomes `Site.codes`. Infinite numbers count as
  missing. Words without declared levels are not read: what is not declared cannot be asked for;
* ``genotypes.bed`` with ``.bim`` and ``.fam``: PLINK 1, variant after variant. Samples are found by their IID, in
  whatever order the files are.

The samples decide which rows are used: genotypes of people who are not listed are not read.
"""

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gwas.errors import InputError
from gwas.genotypes import HEADER, Genotypes
from gwas.harmonise import Match, Variants, harmonise
from gwas.panel import Names, Panel, chromosome_code, load_panel
from gwas.settings import PATIENT_ID, SAMPLE_ID, SEX, SPLIT, Settings
from gwas.site import MISSING, Float, Int, Site

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLES_FILE, BED_FILE, BIM_FILE, FAM_FILE = "samples.parquet", "genotypes.bed", "genotypes.bim", "genotypes.fam"
SPLITS = ("train", "test")
_AT_ONCE = 2_000_000


def load_site(folder: str | Path, settings: Settings, node: int = 0) -> Site:
    """Read a data store.

    Args:
        folder: The data store's folder.
        settings: What the approved run config says: the panel, declared levels, what becomes of ambiguous variants.
        node: Flower's id of this node.

    Raises:
        InputError: A file or column is missing, the files do not fit together, or not to the panel.
    """
    stamps = []
    for name in (SAMPLES_FILE, BED_FILE, BIM_FILE, FAM_FILE):
        file = Path(folder) / name
        if not file.is_file():
            raise InputError(f"The data store has no {name}; write it with `python -m gwas prepare`.")
        stamps.append((str(file), file.stat().st_mtime_ns))
    levels = tuple(settings.levels.items())
    return _read(tuple(stamps), settings.panel, settings.ambiguous, levels, node)


@lru_cache(maxsize=1)  # a sandbox serves one node; a second store must not pile up in an in-process run
def _read(
    stamps: tuple[tuple[str, int], ...],
    panel_name: str,
    ambiguous: str,
    levels: tuple[tuple[str, tuple[str, ...]], ...],
    node: int,
) -> Site:
    import pyarrow.parquet as pq  # noqa: PLC0415 -- paid only where data are read

    samples, bed, bim, fam = (Path(name) for name, _ in stamps)
    sheet = pq.ParquetFile(samples).read()  # read_table would import pandas
    for column in (SAMPLE_ID, PATIENT_ID):
        if column not in sheet.column_names:
            raise InputError(f"{SAMPLES_FILE} lacks the column {column!r}; prepare the store again.")
    people = read_fam(fam)
    rows = _rows(sheet[SAMPLE_ID].to_pylist(), people)
    panel, variants = load_panel(panel_name), read_bim(bim)
    check_bed(bed, len(people), len(variants.position))
    match = matched(panel, variants, ambiguous, (bed, len(people), rows))
    if not (match.place >= 0).any():
        raise InputError(
            f"The store has no variant of the panel {panel_name!r}; check the genome build, or choose another panel."
        )
    numbers, codes, declared = sheet_columns(sheet, dict(levels))
    sex = numbers.get(SEX, np.zeros(len(rows)))
    train = codes[SPLIT] == 0
    return Site(
        node=node,
        panel=panel,
        samples=len(rows),
        numbers=numbers,
        codes=codes,
        levels=declared,
        sex=np.where(np.isin(sex, (1, 2)), sex, 0).astype(np.int8),
        train=train,
        genotypes=Genotypes(bed, len(people), rows, match.place, match.turned, match.harmony),
        patients=tuple(str(patient) for patient in sheet[PATIENT_ID].to_pylist()),
    )


def matched(panel: Panel, variants: Variants, ambiguous: str, of: tuple[Path, int, Int]) -> Match:
    """`harmonise`, with frequencies read from the .bed where they are needed.

    Args:
        panel: The panel.
        variants: The .bim's.
        ambiguous: As the settings have it.
        of: The .bed, the number of samples in it, and (n,) which of them count.
    """
    return harmonise(panel, variants, ambiguous, partial(_frequency, *of))


def read_bim(path: Path) -> Variants:
    """The variants of a .bim, in the file's order.

    Raises:
        InputError: It cannot be read, has not six columns, or a position is no whole number.
    """
    names = ("chromosome", "id", "morgans", "position", "a1", "a2")
    table = _columns(path, names, text=("chromosome", "id", "a1", "a2"))
    words = table["chromosome"].combine_chunks().dictionary_encode()
    codes = np.array([chromosome_code(word) for word in words.dictionary.to_pylist()], dtype=np.uint8)
    chromosome = codes[words.indices.to_numpy()] if len(codes) else np.zeros(0, dtype=np.uint8)
    position = table["position"].to_numpy()
    if position.dtype.kind != "i":
        raise InputError(f"{path.name} has positions that are no whole numbers; export it again: plink2 --make-bed.")
    ids = np.array(table["id"].to_pylist(), dtype=object)
    return Variants(chromosome, position.astype(np.int64), _shared(table["a1"]), _shared(table["a2"]), ids)


def _shared(column: "pa.ChunkedArray") -> Names:
    """Texts most of which are alike, each of them once in memory."""
    words = column.combine_chunks().dictionary_encode()
    texts = np.array([*words.dictionary.to_pylist(), ""], dtype=object)
    return np.asarray(texts[words.indices.to_numpy()])


def read_fam(path: Path) -> list[str]:
    """The sample ids (IID) of a .fam, in the file's order.

    Raises:
        InputError: It cannot be read, has not six columns, or two samples of one id.
    """
    names = ("FID", "IID", "PAT", "MAT", "SEX", "PHENO")
    people: list[str] = _columns(path, names, text=names)["IID"].to_pylist()
    if repeated := len(people) - len(set(people)):
        raise InputError(f"{path.name} has {repeated} samples whose id (IID) another one has; give each its own.")
    return people


def check_bed(path: Path, people: int, variants: int) -> None:
    """A .bed is PLINK 1's, variant after variant, and as long as its companions say.

    Raises:
        InputError: It is not.
    """
    with path.open("rb") as file:
        head = file.read(len(HEADER))
    if head == HEADER[:2] + b"\x00":
        raise InputError(f"{path.name} is in sample-major order; write it again: plink1.9 --bfile NAME --make-bed.")
    if head != HEADER:
        raise InputError(f"{path.name} is not a PLINK 1 .bed file; export it again: plink2 --make-bed.")
    wanted = len(HEADER) + variants * -(-people // 4)
    if (size := path.stat().st_size) != wanted:
        raise InputError(
            f"{path.name} has {size} bytes; {people} samples in the .fam and {variants} variants in the .bim make "
            f"{wanted}. Take the three files from one export, and copy them whole."
        )


def _frequency(bed: Path, people: int, rows: Int, wanted: Int) -> Float:
    """(k,) the frequency of A1 in some variants of a .bed, NaN without calls."""
    found = np.full(len(wanted), np.nan)
    every = Genotypes(bed, people, rows, wanted, np.zeros(len(wanted), bool), np.zeros(len(wanted), np.int8))
    step = max(16, _AT_ONCE // max(1, people))
    for start in range(0, len(wanted), step):
        calls = every.read(start, min(start + step, len(wanted)))
        known = (calls >= 0).sum(axis=0)
        copies = np.where(calls > 0, calls, 0).sum(axis=0, dtype=np.int64)
        found[start : start + step] = np.where(known > 0, copies / np.maximum(2 * known, 1), np.nan)
    return found


def _columns(path: Path, names: tuple[str, ...], text: tuple[str, ...]) -> "pa.Table":
    """A table without a header, its columns separated by tabs or blanks."""
    import pyarrow as pa  # noqa: PLC0415 -- as above
    import pyarrow.csv as pc  # noqa: PLC0415

    try:
        raw = path.read_bytes()
    except OSError:
        raise InputError(
            f"{path} is not there or cannot be read; check the path, and keep .bed, .bim and .fam of one name together."
        ) from None
    if b"\t" not in raw[: raw.find(b"\n") + 1]:
        raw = b"\n".join(b"\t".join(line.split()) for line in raw.splitlines())
    try:
        return pc.read_csv(
            pa.BufferReader(raw),
            read_options=pc.ReadOptions(column_names=list(names), use_threads=False),
            parse_options=pc.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pc.ConvertOptions(
                column_types={name: pa.string() for name in text}, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        raise InputError(
            f"{path.name} has rows without {len(names)} columns; export it again: plink2 --make-bed."
        ) from None


def _rows(samples: list[Any], people: list[str]) -> Int:
    """(n,) the place of each sample of the sheet in the .fam."""
    if repeated := len(samples) - len(set(samples)):
        raise InputError(f"{SAMPLES_FILE} has {repeated} repeated sample ids; prepare the store again.")
    place = {person: row for row, person in enumerate(people)}
    if absent := sum(str(sample) not in place for sample in samples):
        raise InputError(f"{absent} samples of {SAMPLES_FILE} are not in {FAM_FILE}; prepare the store again.")
    return np.array([place[str(sample)] for sample in samples], dtype=np.int64)


def sheet_columns(
    sheet: "pa.Table", levels: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, Float], dict[str, Int], dict[str, tuple[str, ...]]]:
    """Numbers, codes and levels of a sample sheet; the split is always among the codes.

    Raises:
        InputError: The split has other values than train and test.
    """
    numbers: dict[str, Float] = {}
    codes: dict[str, Int] = {}
    declared = {**levels, SPLIT: SPLITS}
    for name in sheet.column_names:
        if name in {SAMPLE_ID, PATIENT_ID}:
            continue
        values = sheet[name].to_pylist()
        if (number := _numbers(sheet, name, values)) is not None:
            numbers[name] = number
        if name in declared:
            codes[name] = _codes(values, declared[name])
    if SPLIT not in codes:
        codes[SPLIT] = np.zeros(sheet.num_rows, dtype=np.int64)
    if unknown := int((codes[SPLIT] == MISSING).sum()):
        raise InputError(f"{unknown} samples have a split other than train and test; prepare the store again.")
    return numbers, codes, {name: declared[name] for name in codes}


def _numbers(sheet: "pa.Table", name: str, values: list[Any]) -> Float | None:
    import pyarrow as pa  # noqa: PLC0415 -- as above

    kind = sheet.schema.field(name).type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return None
    number = np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    return np.where(np.isfinite(number), number, np.nan)


def _codes(values: list[Any], levels: tuple[str, ...]) -> Int:
    place = {level: code for code, level in enumerate(levels)}
    return np.array(
        [MISSING if value is None else place.get(_word(value), MISSING) for value in values], dtype=np.int64
    )


def _word(value: Any) -> str:
    """A cell as a level: 1 and 1.0 are "1", true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
