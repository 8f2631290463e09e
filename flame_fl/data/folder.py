"""A folder of files named by its content: what a simulation's data stores are."""

import hashlib
import os
from pathlib import Path

from flame_fl.contract.errors import InputError


def snapshot_of(folder: Path) -> str:
    """SHA-256 over the sorted lines "path NUL sha256 LF" of the folder's files, below it at any depth.

    Raises:
        InputError: It holds a link (what it points at is not in the hash), something that is neither a file nor a
            folder, or a file that cannot be read.
    """
    lines = []
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise InputError(f"{path} is a link.", mend="Put the file itself into the data store.")
        if path.is_dir():
            continue
        if not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder.", mend="Take it out of the data store.")
        try:
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as err:
            raise InputError(f"{path} cannot be read ({err.strerror}).", mend="Correct its permissions.") from err
        lines.append(os.fsencode(path.relative_to(folder)) + f"\0{content}\n".encode())
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()
