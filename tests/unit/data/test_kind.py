"""How kinds are found, and how a name becomes a file of the store's and of nothing else."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data import kind as module
from flame_fl.data.kind import inside, kind_class, open_kind, require
from flame_fl.data.kinds.table import TableKind
from flame_fl.data.layout import Layout

LAYOUT = Layout("table", "t.csv", "p")


def test_a_kind_is_opened_without_a_look_at_its_files(tmp_path: Path) -> None:
    kind = open_kind(tmp_path, LAYOUT)
    assert isinstance(kind, TableKind)
    assert (kind.folder, kind.layout) == (tmp_path, LAYOUT)


def test_what_is_no_folder_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("file", "link", "absent"):
        with pytest.raises(InputError, match=name):
            open_kind(tmp_path / name, LAYOUT)


@pytest.mark.parametrize("name", sorted(module._KINDS))
def test_every_kind_has_its_class(name: str) -> None:
    _, _, needs, extra = module._KINDS[name]  # type: ignore[index]
    for library in needs:
        pytest.importorskip(library)
    assert bool(needs) == bool(extra)
    cls = kind_class(name)  # type: ignore[arg-type]
    for method in ("schema", "patients", "records", "snapshot", "subset", "mock"):
        assert callable(getattr(cls, method))


@pytest.mark.parametrize("name", sorted(name for name, (_, _, needs, _) in module._KINDS.items() if needs))
def test_without_its_library_the_command_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda library: None)
    with pytest.raises(InputError, match="which is not installed") as caught:
        kind_class(name)  # type: ignore[arg-type]
    assert "pip install 'flame-fl[" in caught.value.mend


def test_what_is_installed_is_enough() -> None:
    require("x", ("json", "csv"), "none")


# Names of files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_bytes(b"a")
    (tmp_path / "secret").write_bytes(b"secret")
    return folder


def test_files_and_folders_of_the_store_are_found(folder: Path) -> None:
    assert inside(folder, "deep/a").read_bytes() == b"a"
    assert inside(folder, "deep") == folder / "deep"


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "deep/../../secret", "/etc/passwd", "deep/\0", "deep/.."])
def test_names_that_lead_out_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="leads out"):
        inside(folder, name)


@pytest.mark.parametrize("at", ["link", "deep/link", "links/a"])
def test_links_are_not_followed_wherever_they_are(folder: Path, at: str) -> None:
    """Nor if they point at a file of the store's."""
    (folder / "link").symlink_to("deep/a")
    (folder / "deep" / "link").symlink_to("../../secret")
    (folder / "links").symlink_to("deep")
    with pytest.raises(InputError, match="is a link"):
        inside(folder, at)


@pytest.mark.parametrize("name", ["absent", "deep/absent", "deep/a/b"])
def test_what_is_not_there(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="There is no"):
        inside(folder, name)


@given(st.text(alphabet=st.sampled_from("./\\ab\0"), max_size=12))
def test_no_name_leads_out(folder: Path, name: str) -> None:
    found = None
    try:
        found = inside(folder, name)
    except InputError:
        return
    assert folder.resolve() in found.resolve().parents


def test_a_name_that_is_too_long_for_any_file(folder: Path) -> None:
    with pytest.raises(InputError):
        inside(folder, "n" * 300)


def test_a_pipe_is_no_file_of_a_store(folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(InputError):
        inside(folder, "pipe.csv")
