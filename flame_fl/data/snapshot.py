"""Snapshots: which bytes a store consists of, named by a keyed hash, and whether they are still those bytes.

A content hash of patients' data lets whoever guesses the data confirm the guess, so a snapshot's name is an HMAC under
a key of the node's, and stays there. Files are hashed by several threads (hashlib leaves the interpreter meanwhile).
"""

import errno
import hmac
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from flame_fl.contract.errors import FlameError, InputError

Mode = Literal["reflink", "copy", "in-place", "fetched"]
Progress = Callable[[int, int], None]
_CHUNK = 1 << 22
_FICLONE = 0x40049409
_ZARR = ".zarr/"


@dataclass(frozen=True)
class FileMark:
    """One file: what was hashed, and what would show that it was touched since."""

    name: str
    size: int
    mtime_ns: int
    inode: int
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """A store's bytes at one time.

    Attributes:
        id: HMAC over the files' names and hashes.
        folder: Where they are.
        mode: Whether that is a copy of ours, or the source's own folder.
        files: Every file.
    """

    id: str
    folder: str
    mode: Mode
    files: tuple[FileMark, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(mark.size for mark in self.files)

    def as_json(self) -> dict[str, object]:
        """For the registry."""
        return asdict(self)

    @classmethod
    def from_json(cls, stated: dict[str, object]) -> "Snapshot":
        """Back again."""
        files = tuple(FileMark(**mark) for mark in stated["files"])  # type: ignore[attr-defined]
        return cls(**{**stated, "files": files})  # type: ignore[arg-type]


def take(
    folder: Path,
    names: Sequence[str],
    key: bytes,
    *,
    mode: Mode,
    known: Sequence[FileMark] = (),
    progress: Progress | None = None,
) -> Snapshot:
    """Hash a folder's files.

    Args:
        folder: Where they are.
        names: Relative to it.
        key: The node's.
        mode: Whose folder it is.
        known: Files that were hashed before: one with the same size, time and inode is not read again.
        progress: Told how many bytes are done, of how many.

    Raises:
        InputError: A file is gone, is a link, or cannot be read; or it changed while it was read.
    """
    wanted = set(names)
    same = {mark.name: mark for mark in known if mark.name in wanted and not _touched(folder, mark)}
    fresh = _hashed(folder, [name for name in names if name not in same], progress)
    marks = tuple(sorted((*same.values(), *fresh), key=lambda mark: mark.name))
    return Snapshot(content_id(marks, key), str(folder), mode, marks)


def content_id(marks: Sequence[FileMark], key: bytes) -> str:
    """The name of this content."""
    lines = sorted(os.fsencode(mark.name) + f"\0{mark.sha256}\n".encode() for mark in marks)
    return hmac.new(key, b"".join(lines), sha256).hexdigest()


def changed(snapshot: Snapshot) -> bool:
    """Whether a file's size, time or inode is another than when it was hashed, or a file is gone or new."""
    return any(_touched(Path(snapshot.folder), mark) for mark in snapshot.files) or _added(snapshot)


def _added(snapshot: Snapshot) -> bool:
    """Whether a folder that is read as a whole (zarr) holds a file that was not hashed, such as a chunk."""
    folder, names = Path(snapshot.folder), {mark.name for mark in snapshot.files}
    roots = {name[: name.index(_ZARR) + len(_ZARR)] for name in names if _ZARR in name}
    found = (path for root in roots for path in (folder / root).rglob("*") if path.is_symlink() or not path.is_dir())
    return any(path.relative_to(folder).as_posix() not in names for path in found)


def _touched(folder: Path, mark: FileMark) -> bool:
    try:
        seen = os.lstat(folder / mark.name)
    except OSError:
        return True
    return (seen.st_size, seen.st_mtime_ns, seen.st_ino) != (mark.size, mark.mtime_ns, mark.inode)


def verify(snapshot: Snapshot, key: bytes, progress: Progress | None = None) -> Snapshot:
    """Hash it all again.

    Returns:
        The snapshot with the times and inodes of now.

    Raises:
        InputError: It is not what it was.
    """
    again = take(Path(snapshot.folder), [m.name for m in snapshot.files], key, mode=snapshot.mode, progress=progress)
    if again.id != snapshot.id or _added(snapshot):
        raise InputError(
            "The data are not those that were registered: their content changed.",
            mend="Register the change as a new version: `flame node data refresh`.",
        )
    return again


def keep(source: Path, names: Sequence[str], into: Path, *, may_copy: bool, progress: Progress | None = None) -> Mode:
    """Make a copy of our own in an empty folder: by reflink where the file system can, else by copying if allowed.

    Returns:
        "reflink" or "copy"; "in-place" if nothing was made, because neither was possible or allowed.

    Raises:
        InputError: A file of the source cannot be read.
        FlameError: The disk is full, for example. What was made so far is removed.
    """
    for number, name in enumerate(names, start=1):
        _require_readable(source / name, _called(source, number, names))
    try:
        return _keep(source, names, into, may_copy=may_copy, progress=progress)
    except OSError as err:
        shutil.rmtree(into, ignore_errors=True)
        if err.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise FlameError(
                "The disk is full: the snapshot was not made, and nothing was registered.",
                mend="Make room, or use the data where they lie: --in-place.",
            ) from None
        raise FlameError(
            f"The snapshot could not be written ({err.strerror}).", mend="See the permissions of the state folder."
        ) from None


def _keep(source: Path, names: Sequence[str], into: Path, *, may_copy: bool, progress: Progress | None) -> Mode:
    into.mkdir(mode=0o700, parents=True)
    cloned = False
    for number, name in enumerate(names):
        target = into / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        cloned = _clone(source / name, target)
        if not cloned:
            if number == 0 and not may_copy:
                shutil.rmtree(into)
                return "in-place"
            break
        target.chmod(0o400)
    if cloned or not names:
        return "reflink"
    if not may_copy:
        shutil.rmtree(into)
        return "in-place"
    _room(source, names, into)
    total, done = sum((source / name).stat().st_size for name in names), 0
    for name in names:
        target = into / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copyfile(source / name, target, follow_symlinks=False)
        target.chmod(0o400)
        done += target.stat().st_size
        if progress is not None:
            progress(done, total)
    return "copy"


def _require_readable(path: Path, called: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as err:
        raise InputError(f"{called} cannot be read ({err.strerror}).", mend="Correct its permissions.") from None
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    os.close(descriptor)
    if not is_file:
        raise InputError(f"{called} is no file.", mend="Put the file itself into the data store.")


def _room(source: Path, names: Sequence[str], into: Path) -> None:
    needed = sum((source / name).stat().st_size for name in names)
    if needed > shutil.disk_usage(into).free:
        raise OSError(errno.ENOSPC, "no space")


def _clone(source: Path, target: Path) -> bool:
    """Share the blocks of a file, copied when one side writes (btrfs, XFS): ioctl_ficlone(2)."""
    from fcntl import ioctl  # noqa: PLC0415

    with source.open("rb") as reading, target.open("xb") as writing:
        try:
            ioctl(writing.fileno(), _FICLONE, reading.fileno())
        except OSError as err:
            if err.errno in {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM}:
                target.unlink()
                return False
            raise
    return True


def _hashed(folder: Path, names: Sequence[str], progress: Progress | None) -> tuple[FileMark, ...]:
    total, done = 0, 0
    for number, name in enumerate(names, start=1):
        try:
            total += os.lstat(folder / name).st_size
        except OSError as err:
            called = _called(folder, number, names)
            raise InputError(f"{called} cannot be read ({err.strerror}).", mend="See the folder.") from None

    def count(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        numbers = range(1, len(names) + 1)
        return tuple(pool.map(lambda n: _mark(folder, names[n - 1], _called(folder, n, names), count), numbers))


def _called(folder: Path, number: int, names: Sequence[str]) -> str:
    """What an error calls a file. Not by its name: images are often called like patients."""
    return f"File {number} of {len(names)} (by name) in {folder}"


def _mark(folder: Path, name: str, called: str, count: Callable[[int], None]) -> FileMark:
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            before, state, buffer = os.fstat(file.fileno()), sha256(), bytearray(_CHUNK)
            view = memoryview(buffer)
            while size := file.readinto(buffer):
                state.update(view[:size])
                count(size)
            after = os.fstat(file.fileno())
    except OSError as err:
        if err.errno == errno.ELOOP:
            raise InputError(f"{called} is a link.", mend="Put the file itself into the data store.") from None
        raise InputError(f"{called} cannot be read ({err.strerror}).", mend="Correct its permissions.") from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError(f"{called} changed while it was read.", mend="Wait until whoever writes it has ended.")
    return FileMark(name, after.st_size, after.st_mtime_ns, after.st_ino, state.hexdigest())
