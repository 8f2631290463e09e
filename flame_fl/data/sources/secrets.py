"""Credentials of a source: a small TOML file of strings that only its owner can read.

No error says anything of what is in the file, nor keeps a parser's error in its context: that quotes it.
"""

import errno
import os
import stat
import tomllib
from pathlib import Path

from flame_fl.contract.errors import InputError

_MOST_BYTES = 65536


def read_secrets(path: Path) -> dict[str, str]:
    """The names and values of a credentials file.

    Raises:
        InputError: There is no such file, it is a link, others than its owner can read or write it, or it is not a
            TOML file of strings.
    """
    table = _parsed(_content(path))
    if table is None:
        raise InputError(
            f"The credentials file {path} is not a TOML file.", mend='Write one line NAME = "VALUE" per credential.'
        )
    if not all(isinstance(value, str) and value and value.isprintable() for value in table.values()):
        raise InputError(
            f"The credentials file {path} holds something that is not a text in quotes, or an empty one.",
            mend='Write one line NAME = "VALUE" per credential.',
        )
    return {name: str(value) for name, value in table.items()}


def _content(path: Path) -> bytes:
    """The bytes of the very file whose kind and mode were looked at."""
    try:
        # Not blocking: the name may be a pipe's, and nobody may be at its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as err:
        raise _unopened(path, err) from None
    try:
        _check(path, os.fstat(descriptor))
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"The credentials file {path} is not a file.", mend="Name a file.")
    if status.st_mode & 0o077:
        raise InputError(f"Others than its owner can use the credentials file {path}.", mend=f"Run: chmod 600 {path}")
    if status.st_size > _MOST_BYTES:
        raise InputError(
            f"The credentials file {path} is larger than {_MOST_BYTES} bytes.", mend="Name the right file."
        )


def _unopened(path: Path, err: Exception) -> InputError:
    if isinstance(err, OSError) and err.errno == errno.ELOOP:
        return InputError(f"The credentials file {path} is a link.", mend="Name the file itself.")
    reason = err.strerror if isinstance(err, OSError) else "no file's name"
    return InputError(f"The credentials file {path} cannot be read ({reason}).", mend="Check its name and its owner.")


def _parsed(data: bytes) -> dict[str, object] | None:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
