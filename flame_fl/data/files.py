"""Files: small ones written whole, private ones never readable in between, folders removed whatever is in them."""

import contextlib
import os
import secrets
from pathlib import Path

PRIVATE, PUBLIC = 0o600, 0o644
Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp:
    """Size, time and inode: what becomes another when a file is written, or another is put in its place.

    Raises:
        OSError: It cannot be looked at.
    """
    seen = path.stat()
    return seen.st_size, seen.st_mtime_ns, seen.st_ino


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is not there yet, never readable by more than `mode` says, and wait for the disk.

    Raises:
        FileExistsError: It is there.
        OSError: It cannot be written.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: bytes, mode: int) -> None:
    """Put a file in the place of another, whole or not at all, and wait for the disk.

    Raises:
        OSError: It cannot be written.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_new(beside, data, mode)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def remove_tree(root: Path) -> None:
    """Remove what an app may have left, as far as it can be removed. Never raises.

    `shutil.rmtree` recurses, and an app can nest folders deeper than Python's stack and the longest path: here each
    folder is moved up before it is emptied.
    """
    waiting = [root]
    with contextlib.suppress(OSError):
        root.chmod(0o700)
        while waiting:
            folder = waiting.pop()
            for entry in list(os.scandir(folder)):
                if entry.is_dir(follow_symlinks=False):
                    moved = root / secrets.token_hex(16)
                    Path(entry.path).chmod(0o700)
                    Path(entry.path).rename(moved)
                    waiting.append(moved)
                else:
                    Path(entry.path).unlink()
            if folder != root:
                folder.rmdir()
        root.rmdir()
