"""A session's folder on the host: the bundle in it, and how it is removed, whatever an app left there."""

import contextlib
import os
import secrets
from pathlib import Path

from flame_fl.contract.fab import Fab


def unpack(fab: Fab, folder: Path) -> None:
    """Write a checked bundle's files, read-only. Paths were checked by `read_fab`."""
    for name, data in fab.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o444)


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
