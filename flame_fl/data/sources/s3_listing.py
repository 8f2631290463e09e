"""What lies below a prefix of a bucket, as far as it can be a folder of files. Pure; the pages come from a caller."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from flame_fl.contract.errors import InputError, UnreachableError

_MOST_OBJECTS = 5_000_000


@dataclass(frozen=True)
class Listed:
    """An object: its key, its name relative to the store's folder, its ETag and its size in bytes."""

    key: str
    name: str
    etag: str
    size: int


def listing(page: Callable[[str | None], Any], prefix: str, where: str) -> list[Listed]:
    """Every object below a prefix that is no folder's marker.

    Args:
        page: An answer to ListObjectsV2, by the token of the page before.
        prefix: Empty, or ends in a slash.
        where: Names bucket and prefix in errors.

    Raises:
        InputError: None, too many, or one whose name cannot be a file's.
        UnreachableError: The answers make no sense.
    """
    found = [one for at, entry in enumerate(_entries(page, where), 1) if (one := _listed(entry, prefix, where, at))]
    if not found:
        raise InputError(f"There is nothing below {where}.", mend="Correct bucket and prefix.")
    _check_tree(found, where)
    return found


def _entries(page: Callable[[str | None], Any], where: str) -> Iterator[Any]:
    token: str | None = None
    count = 0
    while True:
        answer = page(token)
        entries = answer.get("Contents") or () if isinstance(answer, dict) else None
        if not isinstance(entries, list | tuple):
            raise _senseless(where)
        count += len(entries)
        if count > _MOST_OBJECTS:
            raise InputError(
                f"There are more than {_MOST_OBJECTS} objects below {where}.", mend="Give the store its own prefix."
            )
        yield from entries
        if not answer.get("IsTruncated"):
            return
        before, token = token, answer.get("NextContinuationToken")
        if not entries or not token or token == before:  # would go on for ever
            raise _senseless(where)


def _listed(entry: Any, prefix: str, where: str, position: int) -> Listed | None:
    key, etag, size = (entry.get(word) for word in ("Key", "ETag", "Size")) if isinstance(entry, dict) else (None,) * 3
    if not isinstance(key, str) or not isinstance(etag, str) or not isinstance(size, int):
        raise _senseless(where)
    if not key.startswith(prefix) or not etag or size < 0:
        raise _senseless(where)
    name = key.removeprefix(prefix)
    if not name or name.endswith("/"):
        return None
    if reason := unfit(name):
        raise InputError(
            f"Object {position} in the listing of {where} cannot be a file here: its name {reason}.",
            mend="Rename it, or keep it elsewhere.",
        )
    return Listed(key, name, etag, size)


def unfit(name: str) -> str:
    """Why a name cannot be that of a file in a folder; empty if it can."""
    parts = name.split("/")
    tests = (
        (any(part in {"", ".", ".."} for part in parts), "has a part that is empty, '.' or '..'"),
        (not name.isprintable(), "holds control or invisible characters"),
        ("\\" in name, "holds a backslash"),
        (len(name.encode(errors="replace")) > 1024, "is longer than 1024 bytes"),
        (any(len(part.encode(errors="replace")) > 255 for part in parts), "has a part of more than 255 bytes"),
    )
    return next((reason for found, reason in tests if found), "")


def _check_tree(objects: list[Listed], where: str) -> None:
    names = {one.name for one in objects}
    folders = {name[:at] for name in names for at, letter in enumerate(name) if letter == "/"}
    if len(names) < len(objects) or names & folders:
        raise InputError(
            f"Below {where} a name occurs twice, or is both an object's and a folder's.", mend="Rename one of them."
        )


def _senseless(where: str) -> UnreachableError:
    return UnreachableError(f"The listing of {where} is not what S3 answers.", mend="Check the endpoint.")
