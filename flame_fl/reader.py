"""For apps, if they like: a data store as the sandbox offers it. Nothing here is needed; a store is just a folder.

`context.node_config["data-NAME"]` is the folder of store NAME: its files in their own formats, and `store.json`, which
says what they are. This module is the standard library and pyarrow; the gate does not use it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_PREFIX = "data-"
_BLOCK_BYTES = 64 << 20  # a row longer than a block cannot be read


@dataclass(frozen=True)
class DataFolder:
    """A store as an app sees it: chosen records, columns and features of it, ids as pseudonyms unless it is public."""

    name: str
    path: Path
    kind: str
    table: Path
    patient_id: str
    record_id: str | None
    files: tuple[Path, ...]

    def records(self) -> "pa.Table":
        """The record table, for the kinds that have one of their own: Parquet, CSV or TSV.

        Raises:
            ValueError: It is another format; open `table` with the library for it.
        """
        import pyarrow.csv as pv  # noqa: PLC0415  (paid only by who asks)
        import pyarrow.parquet as pq  # noqa: PLC0415

        if self.table.suffix == ".parquet":
            return pq.ParquetFile(self.table).read()
        if self.table.suffix in {".csv", ".tsv"}:
            delimiter = "," if self.table.suffix == ".csv" else "\t"
            ids = {name: "string" for name in (self.patient_id, self.record_id) if name is not None}
            return pv.read_csv(
                self.table,
                read_options=pv.ReadOptions(block_size=_BLOCK_BYTES),
                parse_options=pv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pv.ConvertOptions(column_types=ids, strings_can_be_null=True),
            )
        raise ValueError(f"{self.table.name} is no Parquet, CSV or TSV: open it with the library for {self.kind}")


def data_folder(node_config: Mapping[str, Any], name: str) -> DataFolder:
    """The store of that name.

    Raises:
        KeyError: The node offers none of that name to this analysis.
        ValueError: The folder holds no description.
    """
    path = Path(str(node_config[_PREFIX + name]))
    try:
        said = json.loads((path / "store.json").read_text(encoding="utf-8"))
        table, files = path / said["table"], tuple(path / file for file in said["files"])
        return DataFolder(name, path, said["kind"], table, said["patient_id"], said["record_id"], files)
    except (OSError, KeyError, TypeError, ValueError) as err:
        raise ValueError(f"data store {name!r} has no store.json that describes it") from err
