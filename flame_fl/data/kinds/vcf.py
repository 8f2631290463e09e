"""VCF and BCF files, and a table of their samples.

A view has of each variant CHROM, POS, ID, REF, ALT, and of each sample GT, and DS where the file's header has it. QUAL,
FILTER and INFO tell of the whole cohort and are ".". The header is new: contigs with their lengths, and fixed lines for
GT and DS. A .vcf.gz is BGZF; no index is written. Text goes through a writer of this module, since cyvcf2's does not
say when a disk is full; for a .bcf, which only cyvcf2 writes, the end of the file is looked at.
"""

import gzip
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from flame_fl.contract.errors import InputError
from flame_fl.data import records
from flame_fl.data.kind import inside, under
from flame_fl.data.kinds.genotypes import GenotypeKind, Indices, Variant, View, kept
from flame_fl.data.kinds.genotypes_drawn import draw_calls, draw_people, draw_variants
from flame_fl.data.schema import StoreSchema

T = TypeVar("T")
_SUFFIXES = (".vcf.gz", ".vcf", ".bcf")
_GT = '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">'
_DS = '##FORMAT=<ID=DS,Number=A,Type=Float,Description="Dosage">'
_GENOTYPES = np.array(["0/0", "0/1", "1/1", "./."])  # of 0, 1 and 2 copies, and of -1
_CONTIG = re.compile(r"^##contig=<(?:.*,)?ID=([^,>]+)[,>]")
_LENGTH = re.compile(r"[<,]length=(\d+)[,>]")
_BGZF_BLOCK = 0xFF00
_BGZF_HEAD = bytes.fromhex("1f8b08040000000000ff060042430200")
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


class VcfKind(GenotypeKind):
    """A folder with VCF or BCF files."""

    @staticmethod
    def companions(name: str) -> tuple[str, ...]:
        """The file alone."""
        if not name.endswith(_SUFFIXES):
            raise InputError(f"{name} is no .vcf.gz, .vcf or .bcf.", mend="Name the file with the genotypes.")
        return (name,)

    def samples(self, name: str) -> list[str]:
        """Those of the header."""
        return list(self._opened(name).samples)

    def variants(self, name: str) -> Iterator[Variant]:
        """Its rows, without their genotypes."""
        return self._rows(name, self._opened(name, samples=[]), None, _variant)

    def check(self, name: str, people: int) -> None:
        """A file of compressed blocks has its end."""
        path = inside(self.folder, name)
        with path.open("rb") as file:
            packed = file.read(len(_BGZF_HEAD))[:4] == _BGZF_HEAD[:4]
        if packed and not _has_end(path):
            raise InputError(f"{path} is cut short.", mend="Copy it whole.")

    def write(self, name: str, people: int, views: Sequence[View], keep: Indices | None) -> None:
        """The file of every view."""
        self.check(name, people)
        source = self._opened(name)
        header, keys = _header(source.raw_header)
        with ExitStack() as stack:
            outs = [stack.enter_context(_sink(view.path, _head(header, view.words))) for view in views]
            for line in self._rows(name, source, keep, str):
                site, calls = _reduced(line, keys)
                for view, out in zip(views, outs, strict=True):
                    out.write(_line(site, keys, [calls[i] for i in view.samples]))

    def _opened(self, name: str, samples: list[str] | None = None) -> Any:
        from cyvcf2 import VCF  # type: ignore[import-untyped]  # noqa: PLC0415
        from cyvcf2.cyvcf2 import set_htslib_log_level  # type: ignore[import-untyped]  # noqa: PLC0415

        set_htslib_log_level(0)  # its messages quote what is in the file
        path = inside(self.folder, name)
        _require_genotypes(path)
        try:
            source = VCF(str(path.absolute()), samples=samples)
            _ = source.raw_header, source.samples  # can be decoded
        except Exception:  # cyvcf2 raises what it likes
            raise _unreadable(path) from None
        return source

    def _rows(self, name: str, source: Any, keep: Indices | None, read: Callable[[Any], T]) -> Iterator[T]:
        try:
            for row in kept(source, keep):
                yield read(row)
        except Exception:
            raise _unreadable(self.folder / name) from None

    @staticmethod
    def mock(schema: StoreSchema, rows: int, seed: int, into: Path) -> None:
        """Made-up files."""
        table, samples = draw_people(schema, rows, seed, own=False)
        records.write(under(into, schema.table), table)
        for features in schema.features:
            VcfKind.companions(features.file)
            header = ["##fileformat=VCFv4.2", "##contig=<ID=1>", _GT]
            variants = draw_variants(features)
            with _sink(under(into, features.file), _head(header, samples)) as out:
                for chunk in draw_calls(features, len(samples), seed):
                    for calls, variant in zip(chunk, variants, strict=False):
                        out.write(_line(list(variant), ["GT"], _GENOTYPES[calls].tolist()))


def _variant(row: Any) -> Variant:
    return Variant(row.CHROM, str(row.POS), row.ID or ".", row.REF, ",".join(row.ALT) or ".")


def _header(raw: str) -> tuple[list[str], list[str]]:
    """The lines of a new header, and which keys its samples have."""
    lines = ["##fileformat=VCFv4.2"]
    for line in raw.splitlines():
        if contig := _CONTIG.match(line):
            length = _LENGTH.search(line)
            lines.append(f"##contig=<ID={contig[1]}{f',length={length[1]}' if length else ''}>")
    if any(line.startswith("##FORMAT=<ID=DS,") and ",Type=Float," in line for line in raw.splitlines()):
        return [*lines, _GT, _DS], ["GT", "DS"]
    return [*lines, _GT], ["GT"]


def _head(header: list[str], words: list[str]) -> str:
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", *(["FORMAT", *words] if words else [])]
    return "\n".join([*header, "\t".join(columns)]) + "\n"


def _reduced(line: str, keys: list[str]) -> tuple[list[str], list[str]]:
    """CHROM to ALT, and of each sample the keys that stay."""
    fields = line.rstrip("\n").split("\t")
    has = fields[8].split(":") if len(fields) > 8 else []
    if has == keys:
        return fields[:5], fields[9:]
    at = [has.index(key) if key in has else -1 for key in keys]
    calls = []
    for field in fields[9:]:
        values = [*field.split(":")]
        calls.append(":".join(values[i] if 0 <= i < len(values) else "." for i in at))
    return fields[:5], calls


def _line(site: list[str], keys: list[str], calls: list[str]) -> str:
    return "\t".join([*site, ".", ".", ".", *([":".join(keys), *calls] if calls else [])]) + "\n"


class _Sink(Protocol):
    def __enter__(self) -> "_Sink": ...
    def __exit__(self, kind: object, *rest: object) -> None: ...
    def write(self, line: str, /) -> object: ...


def _sink(path: Path, head: str) -> _Sink:
    return _Bcf(path, head) if path.suffix == ".bcf" else _Text(path, head)


class _Text:
    """Lines, in blocks of BGZF if the name ends in .gz (SAM specification, section 4.1)."""

    def __init__(self, path: Path, head: str) -> None:
        self._file, self._packs = path.open("wb"), path.suffix == ".gz"
        self._waiting = bytearray(head.encode())

    def __enter__(self) -> "_Text":
        return self

    def write(self, line: str) -> None:
        self._waiting += line.encode()
        while len(self._waiting) >= _BGZF_BLOCK:
            self._put(bytes(self._waiting[:_BGZF_BLOCK]))
            del self._waiting[:_BGZF_BLOCK]

    def _put(self, block: bytes) -> None:
        if self._packs:
            packer = zlib.compressobj(6, zlib.DEFLATED, -15)
            packed = packer.compress(block) + packer.flush()
            size = len(_BGZF_HEAD) + 2 + len(packed) + 8
            tail = struct.pack("<II", zlib.crc32(block), len(block))
            block = _BGZF_HEAD + struct.pack("<H", size - 1) + packed + tail
        self._file.write(block)

    def __exit__(self, kind: object, *rest: object) -> None:
        with self._file:
            if kind is None:
                if self._waiting:
                    self._put(bytes(self._waiting))
                if self._packs:
                    self._file.write(_BGZF_END)


class _Bcf:
    """Binary records, by cyvcf2."""

    def __init__(self, path: Path, head: str) -> None:
        from cyvcf2 import Writer  # noqa: PLC0415

        self._path = path
        self._open = Writer.from_string(str(path.absolute()), head, mode="wb")
        self._open.write_header()

    def __enter__(self) -> "_Bcf":
        return self

    def write(self, line: str) -> None:
        self._open.write_record(self._open.variant_from_string(line.rstrip("\n")))

    def __exit__(self, kind: object, *rest: object) -> None:
        self._open.close()
        if kind is None and not _has_end(self._path):
            raise OSError(f"{self._path} cannot be written.")


def _has_end(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_BGZF_END)))
        return file.read() == _BGZF_END


def _require_genotypes(path: Path) -> None:
    """HTSlib also opens what redirects it to other files and hosts (htsget), and SAM, BED, CRAM.

    Raises:
        InputError: It begins neither as VCF nor as BCF.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _BGZF_HEAD[:2]
        with gzip.open(path) if packed else path.open("rb") as content:
            if content.read(16).startswith((b"##fileformat=VCF", b"BCF")):
                return
    except (OSError, EOFError, zlib.error):
        pass
    raise _unreadable(path)


def _unreadable(path: Path) -> InputError:
    return InputError(
        f"{path} is not a VCF or BCF file that can be read to its end.", mend="Look at it with `bcftools view`."
    )
