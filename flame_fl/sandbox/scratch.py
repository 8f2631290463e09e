"""A session's folder on the host: the bundle in it."""

from pathlib import Path

from flame_fl.contract.fab import Fab


def unpack(fab: Fab, folder: Path) -> None:
    """Write a checked bundle's files, read-only. Paths were checked by `read_fab`."""
    folder.mkdir(parents=True, exist_ok=True)  # also for a bundle without files: vetted code has none
    for name, data in fab.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o444)
