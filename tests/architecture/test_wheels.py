"""What a hospital installs holds the trusted core and nothing else; so do the other wheels, each its own."""

import email
import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from tests.architecture.tree import CORE, PACKAGES, ROOT, pyproject, sources, tracked

PARAMETERS = [pytest.param(folder, package, id=package) for folder, package in PACKAGES.items()]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of every distribution, built without a network."""
    if importlib.util.find_spec("hatchling") is None:
        text = "hatchling, which builds the wheels, is not installed in this environment"
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
    out = tmp_path_factory.mktemp("wheels")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q", "-w", out]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, *PACKAGES], check=True, timeout=600)
    return out


@pytest.fixture
def wheel(wheels: Path, package: str) -> Iterator[zipfile.ZipFile]:
    """One of them, opened."""
    (folder,) = [f for f, name in PACKAGES.items() if name == package]
    (file,) = wheels.glob(f"{pyproject(folder)['project']['name'].replace('-', '_')}-*.whl")
    with zipfile.ZipFile(file) as opened:
        yield opened


def about(wheel: zipfile.ZipFile) -> Message:
    """Its METADATA."""
    (name,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(wheel.read(name))


@pytest.mark.parametrize(("folder", "package"), PARAMETERS)
class TestAWheel:
    def test_holds_its_package_and_nothing_beside(self, wheel: zipfile.ZipFile, folder: Path, package: str) -> None:
        """No tests, no other distribution, nothing at the top of site-packages."""
        tops = {name.partition("/")[0] for name in wheel.namelist()}
        assert {t for t in tops if not t.endswith(".dist-info")} == {package}

    def test_holds_every_tracked_file_of_it(self, wheel: zipfile.ZipFile, folder: Path, package: str) -> None:
        """Templates, panels and py.typed included; caches not."""
        inside = {name for name in wheel.namelist() if name.startswith(f"{package}/")}
        there = {f.relative_to(folder).as_posix() for f in tracked() if (folder / package) in f.parents}
        there |= {f.relative_to(folder).as_posix() for f in sources(package)}
        assert inside == there

    def test_holds_the_bytes_of_the_tree(self, wheel: zipfile.ZipFile, folder: Path, package: str) -> None:
        """What is reviewed is what is installed."""
        differ = [
            n for n in wheel.namelist() if n.startswith(f"{package}/") and wheel.read(n) != (folder / n).read_bytes()
        ]
        assert differ == []

    def test_holds_its_licence(self, wheel: zipfile.ZipFile, folder: Path, package: str) -> None:
        """The text, not only its name."""
        (text,) = [n for n in wheel.namelist() if ".dist-info/licenses/" in n]
        assert wheel.read(text) == (ROOT / "LICENSE").read_bytes()

    def test_says_what_it_is(self, wheel: zipfile.ZipFile, folder: Path, package: str) -> None:
        """Name, version, licence and Pythons of pyproject.toml."""
        told, project = about(wheel), pyproject(folder)["project"]
        assert (told["Name"], told["Version"]) == (project["name"], project["version"])
        assert told["License-Expression"] == "Apache-2.0"
        assert {part.strip() for part in told["Requires-Python"].split(",")} == {">=3.11", "<3.14"}


@pytest.mark.parametrize("package", [CORE])
def test_the_core_brings_no_framework(wheel: zipfile.ZipFile, package: str) -> None:
    """Not even as an extra."""
    asked = " ".join(about(wheel).get_all("Requires-Dist") or []).lower()
    assert [name for name in ("torch", "scikit-learn", "opacus", "tensorflow", "jax", "pandas>") if name in asked] == []
    assert "numpy" in asked
