"""Small files: whole or not at all, and never readable by more than was said."""

import os
import stat
from pathlib import Path

import pytest

from flame_fl.data import files as module
from flame_fl.data.files import PRIVATE, PUBLIC, replace, write_new


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    """Whatever the administrator's shell has."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("wanted", [PRIVATE, PUBLIC])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, wanted: int) -> None:
    write_new(tmp_path / "new", b"x", wanted)
    replace(tmp_path / "replaced", b"x", wanted)
    assert (mode(tmp_path / "new"), mode(tmp_path / "replaced")) == (wanted, wanted)


def test_a_private_file_is_private_from_its_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at before a byte is in it."""
    seen: list[int] = []
    real = os.fchmod
    path = tmp_path / "key"
    monkeypatch.setattr(os, "fchmod", lambda fd, bits: (seen.append(mode(path)), real(fd, bits))[1])
    before = os.umask(0)
    write_new(path, b"key", PRIVATE)
    os.umask(before)
    assert seen == [0o600]


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    """Nor through a link that somebody put there."""
    path = tmp_path / "key"
    path.write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("key", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, b"new", PRIVATE)
    assert path.read_bytes() == b"precious"
    assert not (tmp_path / "elsewhere").exists()


def test_a_replacement_has_the_new_content_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    path.write_bytes(b"old")
    path.chmod(0o644)
    replace(path, b"new", PRIVATE)
    assert (path.read_bytes(), mode(path)) == (b"new", PRIVATE)
    assert list(tmp_path.iterdir()) == [path]


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, in the middle."""
    path = tmp_path / "store.json"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace(path, b"new", PRIVATE)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"other")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    replace(tmp_path / "link", b"new", PUBLIC)
    assert (tmp_path / "target").read_bytes() == b"other"
    assert not (tmp_path / "link").is_symlink()


def test_the_disk_has_it_before_it_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut there is the old file or the new one."""
    steps: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("sync"), real_sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("replace"), real_replace(self, to))[1])
    replace(tmp_path / "x", b"x", PUBLIC)
    assert steps == ["sync", "replace"]
