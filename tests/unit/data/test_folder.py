"""Simulated data stores: what the hash of a folder covers."""

import os
from pathlib import Path

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.data.folder import snapshot_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_bytes(b"a")
    (folder / "b").write_bytes(b"b")
    return folder


def test_the_hash_does_not_depend_on_where_the_folder_is(folder: Path, tmp_path: Path) -> None:
    before = snapshot_of(folder)
    assert snapshot_of(folder.rename(tmp_path / "elsewhere")) == before


@pytest.mark.parametrize("change", ["content", "name", "new", "gone", "moved"])
def test_any_change_of_any_file_is_another_hash(folder: Path, change: str) -> None:
    before = snapshot_of(folder)
    match change:
        case "content":
            (folder / "deep" / "a").write_bytes(b"c")
        case "name":
            (folder / "b").rename(folder / "c")
        case "new":
            (folder / "deep" / "empty").write_bytes(b"")
        case "gone":
            (folder / "b").unlink()
        case "moved":
            (folder / "b").rename(folder / "deep" / "b")
    assert snapshot_of(folder) != before


def test_no_name_can_stand_in_for_two_files(tmp_path: Path) -> None:
    """A name may hold a line end; the hash's lines are still read in one way only."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, ["a", "b"]), (two, ["a\nb"])):
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b"x")
    assert snapshot_of(one) != snapshot_of(two)


def test_a_name_that_is_no_text_is_hashed_too(tmp_path: Path) -> None:
    before = snapshot_of(tmp_path)
    (tmp_path / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    assert snapshot_of(tmp_path) != before


@pytest.mark.parametrize("target", ["b", "deep", "/etc"])
def test_a_link_is_refused(folder: Path, target: str) -> None:
    (folder / "link").symlink_to(target)
    with pytest.raises(InputError, match="is a link"):
        snapshot_of(folder)


def test_a_pipe_is_refused_and_not_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        snapshot_of(folder)
