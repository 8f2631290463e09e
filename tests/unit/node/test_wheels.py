"""What may go into a sandbox image, and the lock of it. pip runs here without an index."""

import importlib.metadata
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.fab import Fab
from flame_fl.node import wheels
from flame_fl.node.wheels import LOCK, collect, installed, repack, requirements_of


def app(*dependencies: str) -> Fab:
    listed = ", ".join(f"'{text}'" for text in dependencies)
    text = f"[project]\nname = 'a'\ndependencies = [{listed}]\n[tool.flwr.app]\npublisher = 'p'\n"
    return Fab({"pyproject.toml": text.encode()}, sha256="0" * 64)


def offer(folder: Path, name: str, version: str = "1.0", requires: str = "") -> None:
    """A wheel with one module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
        f"Requires-Dist: {requires}\n" * bool(requires)
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as packed:
        packed.writestr(f"{name}.py", "x = 1\n")
        packed.writestr(f"{info}/METADATA", about)
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", "")


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pip and a small package; our own core asks for nothing, so that it resolves at once."""

    def core_only(requirements: object, own: Path, folder: Path | None) -> None:
        offer(own, "flame_fl", "0.1.0")

    monkeypatch.setattr(wheels, "_own_wheels", core_only)
    folder = tmp_path / "offered"
    offer(folder, "pip", "99.0")
    offer(folder, "small", "1.0")
    offer(folder, "small", "2.0", requires="smaller")
    offer(folder, "smaller")
    return folder


class TestRequirements:
    def test_are_those_of_the_bundle(self) -> None:
        assert requirements_of(app("numpy>=1.26,<3", "torch")) == ("numpy<3,>=1.26", "torch")

    def test_none_are_fine(self) -> None:
        assert requirements_of(app()) == ()

    def test_ray_stays_out(self) -> None:
        assert requirements_of(app("flwr[simulation]>=1.41")) == ("flwr>=1.41",)

    @pytest.mark.parametrize(
        "text",
        [
            "evil @ https://example.org/evil-1.0-py3-none-any.whl",
            "evil @ file:///etc/passwd",
            "--index-url=https://example.org/simple",
            "-r /etc/passwd",
            "./here",
            "a b",
        ],
    )
    def test_that_are_no_name_with_versions_are_refused(self, text: str) -> None:
        with pytest.raises(InputError):
            requirements_of(app("numpy", text))


class TestCollect:
    def test_takes_the_tree_and_locks_it(self, tmp_path: Path, offered: Path) -> None:
        into = tmp_path / "context"
        into.mkdir()
        found = collect(["small"], into, offered=offered)
        assert [(w.name, w.version) for w in found] == [("small", "2.0"), ("smaller", "1.0"), ("flame-fl", "0.1.0")]
        lines = (into / "wheels" / LOCK).read_text().splitlines()
        assert len(lines) == 2
        assert all(re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
        assert {f.name.partition("-")[0] for f in (into / "wheels").glob("*.whl")} == {"pip", "small", "smaller"}
        assert [f.name for f in (into / "own").glob("*.whl")] == ["flame_fl-0.1.0-py3-none-any.whl"]

    def test_keeps_to_the_constraints(self, tmp_path: Path, offered: Path) -> None:
        into = tmp_path / "context"
        into.mkdir()
        constraints = tmp_path / "c.txt"
        constraints.write_text("small==1.0\n")
        found = collect(["small"], into, offered=offered, constraints=constraints)
        assert [(w.name, w.version) for w in found if w.name == "small"] == [("small", "1.0")]

    def test_says_what_pip_could_not_find(self, tmp_path: Path, offered: Path) -> None:
        into = tmp_path / "context"
        into.mkdir()
        with pytest.raises(FlameError, match="absent-package") as caught:
            collect(["absent-package"], into, offered=offered)
        assert "--wheels" in caught.value.mend

    def test_runs_no_build_script(self, tmp_path: Path, offered: Path) -> None:
        """A source distribution is no offer, not even where there is nothing else."""
        import tarfile

        source, proof = tmp_path / "onlysource-1.0", tmp_path / "ran"
        source.mkdir()
        (source / "setup.py").write_text(f"open({str(proof)!r}, 'w')\n")
        (source / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: onlysource\nVersion: 1.0\n")
        with tarfile.open(offered / "onlysource-1.0.tar.gz", "w:gz") as packed:
            packed.add(source, "onlysource-1.0")
        into = tmp_path / "context"
        into.mkdir()
        with pytest.raises(FlameError, match="onlysource"):
            collect(["onlysource"], into, offered=offered)
        assert not proof.exists()


class TestOurOwn:
    def test_are_never_looked_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that is not installed is an error, whatever an index may offer under its name."""
        asked = []
        monkeypatch.setattr(wheels, "_pip", lambda *arguments: asked.append(arguments))
        monkeypatch.setattr(wheels, "OWN", (wheels.CORE, "flame-vetted-of-the-test"))
        with pytest.raises(InputError, match="flame-vetted-of-the-test"):
            collect(["flame-vetted-of-the-test"], tmp_path)
        assert [a[0] for a in asked] in (["wheel"], [])

    def test_may_come_from_the_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the administrator put it; its file goes with our own, not with the strangers'."""
        offered, own = tmp_path / "offered", tmp_path / "own"
        own.mkdir()
        offer(offered, "flame_vetted_of_the_test")
        monkeypatch.setattr(wheels, "OWN", ("flame-vetted-of-the-test",))
        wheels._own_wheels(["flame-vetted-of-the-test>=1"], own, offered)
        assert [f.name for f in own.iterdir()] == ["flame_vetted_of_the_test-1.0-py3-none-any.whl"]

    def test_are_not_constrained(self) -> None:
        names = [line.partition("==")[0] for line in installed()]
        assert "flame-fl" not in names
        assert "numpy" in names
        assert not any("+" in line for line in installed())


class TestRepack:
    @pytest.mark.parametrize("name", ["packaging", "rfc8785"])
    def test_gives_a_wheel_that_installs_the_same(self, tmp_path: Path, name: str) -> None:
        found = importlib.metadata.distribution(name)
        wheel = repack(found, tmp_path)
        target = tmp_path / "site"
        options = ["--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check", "-q", "--target", target]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *map(str, options), str(wheel)], check=True, timeout=120
        )
        there = {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob(f"{name}/**/*.py")}
        here = {
            str(f): Path(str(found.locate_file(f))).read_bytes()
            for f in found.files or []
            if f.suffix == ".py" and f.parts[0] == name
        }
        assert there == here != {}

    def test_gives_the_same_bytes_again(self, tmp_path: Path) -> None:
        found = importlib.metadata.distribution("packaging")
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        assert repack(found, tmp_path / "a").read_bytes() == repack(found, tmp_path / "b").read_bytes()
