"""A Flower App Bundle, read from its bytes and from nowhere else.

Rules this module follows:

1. The bytes are hostile. Sizes, names and counts are checked before anything is decompressed, and decompression stops
   at the announced size (stored and deflated entries only: zipfile does not bound the others).
2. The *content hash* is recomputed from the files (SHA-256 over the sorted path and SHA-256 lines), so that it does
   not depend on how the zip was packed. Flower's own listing inside the bundle is not believed.
3. What the researcher's folder holds is irrelevant: `flwr build` rewrites pyproject.toml and drops ignored files.
4. One bundle is one set of files on every file system: paths that differ only in case or Unicode form, or that use a
   file as a folder, are refused.
"""

import io
import stat
import struct
import tomllib
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import InputError

MAX_FAB_BYTES = 10 * 1024 * 1024  # Flower's own limit
MAX_UNPACKED_BYTES = 100 * 1024 * 1024
MAX_FILES = 2000
MAX_PYPROJECT_BYTES = 1024 * 1024
MAX_DOTS_PER_LINE = 64  # tomllib keeps every prefix of a dotted key: its memory grows with the square of the dots
MAX_PATH_CHARS = 255
MAX_APP_ID_CHARS = 128
_LISTING = ".info/CONTENT"
# what zipfile and zlib are known to raise on bytes that are no zip, or no honest one
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError,
    ArithmeticError, LookupError, OSError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Fab:
    """A bundle's files after every check. Build it with `read_fab`."""

    files: Mapping[str, bytes]
    sha256: str

    @cached_property
    def content_sha256(self) -> str:
        """SHA-256 over the sorted lines "path NUL sha256 LF" of every file but Flower's listing."""
        lines = (f"{path}\0{sha256_hex(data)}\n" for path, data in sorted(self.files.items()))
        return sha256_hex("".join(lines).encode())

    @cached_property
    def pyproject(self) -> Mapping[str, Any]:
        """The bundle's pyproject.toml, parsed.

        Raises:
            InputError: There is none, or it is too large or no TOML.
        """
        raw = self.files.get("pyproject.toml")
        if raw is None:
            raise InputError("The bundle has no pyproject.toml.", mend="Build it with `flame app build`.")
        if len(raw) > MAX_PYPROJECT_BYTES:
            raise InputError(f"The bundle's pyproject.toml has more than {MAX_PYPROJECT_BYTES} bytes.")
        if any(line.count(b".") > MAX_DOTS_PER_LINE for line in raw.splitlines()):
            raise InputError(
                f"The bundle's pyproject.toml has a line with more than {MAX_DOTS_PER_LINE} dots.",
                mend="Break the line.",
            )
        try:
            return tomllib.loads(raw.decode())
        except (ValueError, RecursionError) as err:  # no UTF-8, no TOML, endless numbers, endless nesting
            raise InputError(f"The bundle's pyproject.toml cannot be read: {err}.") from err

    def setting(self, *path: str) -> Any:
        """A value of pyproject.toml, or None."""
        value: Any = self.pyproject
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    @cached_property
    def app_id(self) -> str:
        """The app's name as Flower gives it, "publisher/name".

        Raises:
            InputError: One of them is missing, or is no plain text.
        """
        parts = self.setting("tool", "flwr", "app", "publisher"), self.setting("project", "name")
        name = "/".join(part for part in parts if isinstance(part, str) and part)
        if name.count("/") != 1 or len(name) > MAX_APP_ID_CHARS or not name.isprintable():
            raise InputError(
                "The app has no plain publisher and name.",
                mend="State `publisher` in [tool.flwr.app] and `name` in [project] of its pyproject.toml.",
            )
        return name

    def component(self, kind: str) -> str:
        """The "module:object" of `clientapp` or `serverapp`.

        Raises:
            InputError: The app names none.
        """
        reference = self.setting("tool", "flwr", "app", "components", kind)
        if not isinstance(reference, str) or reference.count(":") != 1:
            raise InputError(
                f"The app names no {kind}.",
                mend=f'Add `{kind} = "package.module:app"` to [tool.flwr.app.components] of its pyproject.toml.',
            )
        return reference


def read_fab(raw: bytes) -> Fab:
    """Check and unpack a bundle.

    Raises:
        InputError: Not a zip, too large, too many files, or a path that leaves the bundle.
    """
    if len(raw) > MAX_FAB_BYTES:
        raise InputError(f"The bundle has {len(raw)} bytes; the limit is {MAX_FAB_BYTES}.")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as bundle:
            entries = bundle.infolist()
            if len(entries) > MAX_FILES:
                raise InputError(f"The bundle has more than {MAX_FILES} files.")
            if sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
                raise InputError(f"The bundle unpacks to more than {MAX_UNPACKED_BYTES} bytes.")
            files: dict[str, bytes] = {}
            for entry in entries:
                path = _checked_path(entry)
                with bundle.open(entry) as stream:
                    files[path] = stream.read(entry.file_size)  # decompresses no further
                if (len(files[path]), zlib.crc32(files[path])) != (entry.file_size, entry.CRC):
                    raise InputError("The bundle holds a file of another size or checksum than it announces.")
    except _ZIP_ERRORS as err:
        raise InputError("The bundle is not a zip file that can be read.", mend="Build it again.") from err
    if len(files) != len(entries) or _ambiguous(files):
        raise InputError("The bundle holds one path twice, or paths that some file systems take for one.")
    files.pop(_LISTING, None)
    return Fab(files, sha256_hex(raw))


def _ambiguous(paths: Iterable[str]) -> bool:
    """Whether two paths differ only in case or Unicode form, or one is the other's folder."""
    plain = [unicodedata.normalize("NFC", path).casefold() for path in paths]
    folders = {str(parent) for path in plain for parent in PurePosixPath(path).parents}
    return len(set(plain)) != len(plain) or not folders.isdisjoint(plain)


def _checked_path(entry: zipfile.ZipInfo) -> str:
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise InputError("The bundle uses a compression other than deflate.", mend="Build it with `flame app build`.")
    name = entry.filename
    path = PurePosixPath(name)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG} or entry.is_dir():
        raise InputError("The bundle holds something that is not a plain file (a link or a folder).")
    if (
        len(name) > MAX_PATH_CHARS
        or path.is_absolute()
        or not path.parts
        or ".." in path.parts
        or str(path) != name
        or "\\" in name
        or not name.isprintable()
    ):
        raise InputError("The bundle holds a path that leaves it, is too long or is not plain.")
    return name
