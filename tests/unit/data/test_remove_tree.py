"""What an app leaves in its scratch folder is removed, however it was laid."""

import os
from pathlib import Path

from flame_fl.data.files import remove_tree


def nest(root: Path, depth: int) -> None:
    """Folders in folders, by way of descriptors: the whole path would be too long for a system call."""
    at = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("file", os.O_CREAT, dir_fd=at))
    os.close(at)


def test_folders_deeper_than_the_stack_and_than_the_longest_path(tmp_path: Path) -> None:
    """5,000 nested folders: a recursive removal would raise, which an app could use as a signal."""
    root = tmp_path / "scratch"
    root.mkdir()
    nest(root, 5000)
    remove_tree(root)
    assert not root.exists()


def test_links_are_removed_and_what_they_point_at_is_not(tmp_path: Path) -> None:
    """A link to a folder is a file here."""
    root, outside = tmp_path / "scratch", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir()
    (outside / "kept").write_text("x")
    (root / "link").symlink_to(outside)
    remove_tree(root)
    assert not root.exists()
    assert (outside / "kept").read_text() == "x"


def test_folders_that_were_locked(tmp_path: Path) -> None:
    """Modes are set back first."""
    locked = tmp_path / "scratch" / "a" / "b"
    locked.mkdir(parents=True)
    (locked / "file").write_text("x")
    locked.chmod(0o000)
    remove_tree(tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    """Never raises."""
    remove_tree(tmp_path / "none")
