"""What is in git can be given to anybody: it names no machine of ours and no registry's host."""

import re
import subprocess

import pytest

from tests.architecture.tree import ROOT, short, tracked

# put together here, so that this file does not hold what it looks for
REGISTRIES = [
    ".".join(parts) for parts in (("pypi", "org"), ("files", "pythonhosted"), ("npmjs", "org"), ("npmjs", "com"))
]
REGISTRIES += [
    ".".join(parts) for parts in (("deb", "debian"), ("proxy", "golang"), ("conda", "anaconda"), ("crates", "io"))
]
HOMES = [f"/{name}/" for name in ("work", "root")]
_PATHS = re.compile(rf"(?<![\w.>-])(?:{'|'.join(HOMES)})".encode())
_HOSTS = re.compile("|".join(re.escape(name) for name in REGISTRIES).encode())


def test_no_file_names_a_registry() -> None:
    """Which index pip uses is the user's own setting."""
    assert {short(f): found for f in tracked() if (found := _HOSTS.findall(f.read_bytes()))} == {}


def test_no_file_names_a_path_of_a_machine() -> None:
    """A clone anywhere behaves the same."""
    assert {short(f): found for f in tracked() if (found := _PATHS.findall(f.read_bytes()))} == {}


def test_no_file_is_large_or_data() -> None:
    """Such things are made or installed, never committed."""
    kinds = {".parquet", ".h5", ".h5ad", ".npy", ".npz", ".pkl", ".db", ".fab", ".whl", ".zip"}
    assert [short(f) for f in tracked() if f.stat().st_size >= 1_000_000 or f.suffix in kinds] == []


def test_what_is_looked_for_would_be_found() -> None:
    """The patterns match what they are meant to, and not a word that holds it."""
    assert _PATHS.findall(f"cd {HOMES[0]}main".encode())
    assert _HOSTS.findall(f"https://{REGISTRIES[0]}/simple".encode())
    assert not _PATHS.findall(b"flame_fl/gate" + HOMES[0].encode())


@pytest.mark.parametrize(
    "name", [".venv/x", "flame-runs/x", "flame-data/x", "dist/x.whl", "x.fab", "a/__pycache__/x", ".hypothesis/x"]
)
def test_what_a_run_leaves_is_ignored(name: str) -> None:
    """`git status` stays clean after `make demo` and `make test`."""
    assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False).returncode == 0


def test_there_are_files_to_look_at() -> None:
    """The searches above go through the tree."""
    assert ROOT / "flame_fl" / "gate" / "workflow.py" in tracked()
