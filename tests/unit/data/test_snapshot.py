"""Which bytes a store is, and whether it still is."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import flame_fl.data.snapshot as module
from flame_fl.contract.errors import FlameError, InputError
from flame_fl.data.snapshot import FileMark, Snapshot, changed, content_id, keep, take, verify

KEY = b"k" * 32
NAMES = ("a.csv", "in/b.bin")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    (place / "in").mkdir(parents=True)
    (place / "a.csv").write_text("pid,x\np1,1\n")
    (place / "in" / "b.bin").write_bytes(b"\x00" * 1000)
    return place


def taken(folder: Path, key: bytes = KEY, names: Sequence[str] = NAMES) -> Snapshot:
    return take(folder, names, key, mode="in-place")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def no_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*arguments: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr("fcntl.ioctl", refuses)


def cloning(monkeypatch: pytest.MonkeyPatch, most: int = 99) -> list[int]:
    """As a file system that shares blocks does it, for the first `most` files."""
    calls: list[int] = []

    def clones(target: int, request: int, source: int) -> int:
        calls.append(request)
        if len(calls) > most:
            raise OSError(errno.EXDEV, "another device")
        os.write(target, os.pread(source, 1 << 20, 0))
        return 0

    monkeypatch.setattr("fcntl.ioctl", clones)
    return calls


class TestId:
    def test_it_is_the_content_under_a_key(self, folder: Path, tmp_path: Path) -> None:
        """Neither the place nor the time nor the order, but every byte and every name."""
        one = taken(folder)
        other = tmp_path / "other"
        shutil.copytree(folder, other)
        os.utime(other / "a.csv", ns=(1, 1))
        assert taken(other).id == one.id
        assert taken(folder, names=NAMES[::-1]).id == one.id
        assert taken(folder, names=NAMES[:1]).id != one.id
        (other / "in" / "b.bin").write_bytes(b"\x00" * 999 + b"\x01")
        assert taken(other).id != one.id
        (folder / "a.csv").rename(folder / "c.csv")
        assert taken(folder, names=("c.csv", "in/b.bin")).id != one.id

    def test_who_guesses_the_data_cannot_confirm_the_guess(self, folder: Path) -> None:
        """Without the node's key the name says nothing."""
        assert taken(folder, b"x" * 32).id != taken(folder).id

    def test_names_and_hashes_do_not_run_into_each_other(self, folder: Path) -> None:
        one, two = taken(folder).files
        swapped = (replace(one, sha256=two.sha256), replace(two, sha256=one.sha256))
        assert content_id(swapped, KEY) != content_id((one, two), KEY)

    def test_it_goes_to_the_registry_and_back(self, folder: Path) -> None:
        one = taken(folder)
        assert Snapshot.from_json(one.as_json()) == one
        assert one.size == 1000 + len("pid,x\np1,1\n")


class TestTaking:
    def test_progress_ends_at_the_whole(self, folder: Path) -> None:
        said: list[tuple[int, int]] = []
        take(folder, NAMES, KEY, mode="in-place", progress=lambda done, total: said.append((done, total)))
        assert said[-1] == (1011, 1011)

    def test_a_file_that_is_gone_is_named(self, folder: Path) -> None:
        with pytest.raises(InputError, match=r"File 2 of 2 .* cannot be read \(No such file"):
            taken(folder, names=("a.csv", "c.csv"))

    def test_a_link_is_not_followed(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("s3cret")
        (folder / "a.csv").unlink()
        (folder / "a.csv").symlink_to(tmp_path / "secret")
        with pytest.raises(InputError, match=r"File 1 of 2 .* is a link"):
            taken(folder)

    def test_a_folder_in_the_place_of_a_file(self, folder: Path) -> None:
        with pytest.raises(InputError, match=r"File 1 of 1 .* cannot be read \(Is a directory"):
            taken(folder, names=("in",))

    def test_a_pipe_does_not_hang(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        assert taken(folder, names=("pipe",)).files[0].size == 0

    def test_a_file_that_changes_while_it_is_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real, seen = os.fstat, []

        def grows(descriptor: int) -> os.stat_result:
            status = real(descriptor)
            seen.append(status)
            if len(seen) == 1:
                with (folder / "a.csv").open("a") as file:
                    file.write("p2,2\n")
            return status

        monkeypatch.setattr(os, "fstat", grows)
        with pytest.raises(InputError, match=r"File 1 of 1 .* changed while it was read"):
            taken(folder, names=("a.csv",))


class TestLater:
    def test_what_was_not_touched_has_not_changed(self, folder: Path) -> None:
        assert not changed(taken(folder))

    @pytest.mark.parametrize("what", ["size", "time", "inode", "gone", "link", "folder"])
    def test_whatever_was_touched_is_seen(self, folder: Path, what: str) -> None:
        one, path = taken(folder), folder / "a.csv"
        seen = path.stat()
        if what == "size":
            path.write_text("pid,x\np1,12\n")
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        elif what == "time":
            os.utime(path, ns=(1, 1))
        elif what == "inode":
            (folder / "new").write_text("pid,x\np1,2\n")
            os.utime(folder / "new", ns=(seen.st_atime_ns, seen.st_mtime_ns))
            (folder / "new").rename(path)
        elif what == "gone":
            path.unlink()
        elif what == "link":
            path.rename(folder / "moved")
            path.symlink_to(folder / "moved")
        else:
            folder.rename(folder.parent / "moved")
        assert changed(one)

    def test_the_same_bytes_at_another_time_are_the_same_snapshot(self, folder: Path) -> None:
        """And the next look is a quick one again."""
        one = taken(folder)
        os.utime(folder / "a.csv", ns=(1, 1))
        again = verify(one, KEY)
        assert (again.id, again.mode) == (one.id, one.mode)
        assert changed(one)
        assert not changed(again)

    @pytest.mark.parametrize("text", ["pid,x\np1,2\n", "", "pid,x\np1,1\np2,2\n"])
    def test_other_bytes_are_not(self, folder: Path, text: str) -> None:
        one = taken(folder)
        (folder / "a.csv").write_text(text)
        with pytest.raises(InputError, match="their content changed") as caught:
            verify(one, KEY)
        assert "flame node data refresh" in caught.value.mend

    def test_more_files_beside_it_are_nothing_of_it(self, folder: Path) -> None:
        one = taken(folder)
        (folder / "more.txt").write_text("x")
        assert not changed(one)
        assert verify(one, KEY).id == one.id


class TestKeeping:
    def test_shared_where_the_file_system_can(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody need be asked: no room is taken."""
        calls = cloning(monkeypatch)
        assert keep(folder, NAMES, tmp_path / "own", may_copy=False) == "reflink"
        assert calls == [0x40049409] * 2
        assert (tmp_path / "own" / "in" / "b.bin").read_bytes() == b"\x00" * 1000

    @pytest.mark.parametrize("how", ["copy", "reflink", "part"])
    def test_a_copy_is_the_nodes_own_and_read_only(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        """Also where sharing stopped in the middle: then all is copied."""
        no_clone(monkeypatch) if how == "copy" else cloning(monkeypatch, 1 if how == "part" else 99)
        own = tmp_path / "own"
        assert keep(folder, NAMES, own, may_copy=True) == ("reflink" if how == "reflink" else "copy")
        assert [mode(own / name) for name in NAMES] == [0o400, 0o400]
        assert (mode(own), mode(own / "in")) == (0o700, 0o700)
        assert taken(own).id == taken(folder).id
        assert (folder / "a.csv").stat().st_nlink == 1  # a hard link would let the source change it

    @pytest.mark.parametrize("most", [0, 1])
    def test_nothing_is_copied_without_permission(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
    ) -> None:
        """And nothing is left of the attempt to share."""
        cloning(monkeypatch, most)
        assert keep(folder, NAMES, tmp_path / "own", may_copy=False) == "in-place"
        assert not (tmp_path / "own").exists()

    def test_the_source_is_not_touched(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        no_clone(monkeypatch)
        before = taken(folder)
        keep(folder, NAMES, tmp_path / "own", may_copy=True)
        assert not changed(before)
        assert mode(folder / "a.csv") != 0o400

    def test_progress(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        no_clone(monkeypatch)
        said: list[tuple[int, int]] = []
        keep(folder, NAMES, tmp_path / "own", may_copy=True, progress=lambda done, total: said.append((done, total)))
        assert said == [(11, 1011), (1011, 1011)]

    def test_too_little_room_is_said_before_a_byte_is_copied(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        no_clone(monkeypatch)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1010))
        monkeypatch.setattr(shutil, "copyfile", lambda *a, **k: pytest.fail("copied"))
        with pytest.raises(FlameError, match="disk is full") as caught:
            keep(folder, NAMES, tmp_path / "own", may_copy=True)
        assert "--in-place" in caught.value.mend
        assert not (tmp_path / "own").exists()

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
    @pytest.mark.parametrize("where", ["clone", "copy"])
    def test_whatever_fails_nothing_is_left(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, where: str
    ) -> None:
        """In the middle: a first file is there already."""
        real = shutil.copyfile
        cloning(monkeypatch, 1)

        def fails(source: Path, target: Path, **how: bool) -> None:
            if source.name == "b.bin":
                target.write_bytes(b"half")
                raise OSError(number, os.strerror(number))
            real(source, target, **how)

        def fails_to_share(target: int, request: int, source: int) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(shutil, "copyfile", fails)
        if where == "clone":
            monkeypatch.setattr("fcntl.ioctl", fails_to_share)
        with pytest.raises(FlameError) as caught:
            keep(folder, NAMES, tmp_path / "own", may_copy=True)
        full = number in {errno.ENOSPC, errno.EDQUOT}
        assert ("disk is full" in caught.value.message) is full
        assert (os.strerror(number) in caught.value.message) is not full
        assert not (tmp_path / "own").exists()

    @pytest.mark.parametrize("what", ["folder", "link", "gone", "pipe"])
    def test_a_source_that_cannot_be_read_is_named_and_not_our_own_folder(
        self, folder: Path, tmp_path: Path, what: str
    ) -> None:
        path = folder / "in" / "b.bin"
        path.rename(tmp_path / "moved")
        if what == "folder":
            path.mkdir()
        elif what == "link":
            path.symlink_to(tmp_path / "moved")
        elif what == "pipe":
            os.mkfifo(path)
        with pytest.raises(InputError, match=r"File 2 of 2 \(by name\)"):
            keep(folder, NAMES, tmp_path / "own", may_copy=True)
        assert not (tmp_path / "own").exists()


def test_what_was_not_touched_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large folder that grew by a file, one file is hashed; the name is that of a full reading."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    first = take(tmp_path, ["a", "b"], KEY, mode="in-place")
    (tmp_path / "b").write_text("other")
    read: list[str] = []
    real = module._mark

    def noted(folder: Path, name: str, called: str, count: Callable[[int], None]) -> FileMark:
        read.append(name)
        return real(folder, name, called, count)

    monkeypatch.setattr(module, "_mark", noted)
    again = take(tmp_path, ["a", "b", "c"], KEY, mode="in-place", known=first.files)
    assert sorted(read) == ["b", "c"]
    assert again == take(tmp_path, ["a", "b", "c"], KEY, mode="in-place")
    assert take(tmp_path, ["c"], KEY, mode="in-place", known=first.files).files == again.files[2:]


@pytest.mark.parametrize("what", ["gone", "link", "folder"])
def test_a_file_is_never_called_by_its_name(tmp_path: Path, what: str) -> None:
    """Images are called like patients, and what is said here reaches the audit log."""
    source = tmp_path / "source"
    source.mkdir()
    if what == "link":
        (source / "Mustermann_Erika.png").symlink_to("elsewhere")
    elif what == "folder":
        (source / "Mustermann_Erika.png").mkdir()
    for call in (
        lambda: take(source, ["Mustermann_Erika.png"], KEY, mode="in-place"),
        lambda: keep(source, ["Mustermann_Erika.png"], tmp_path / "copy", may_copy=True),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "Mustermann" not in str(caught.value)
        assert "File 1 of 1" in str(caught.value)
