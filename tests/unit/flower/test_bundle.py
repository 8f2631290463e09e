"""A bundle is what Flower itself would build of the folder, and a derived one differs in its terms only."""

import base64
import hashlib
import os
import random
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import flwr.cli.build
import pytest

from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import MAX_FAB_BYTES, Fab, read_fab
from flame_fl.flower.bundle import build_fab, with_terms
from tests.unit.flower.folders import PYPROJECT, changed, write_app

ROOT = Path(__file__).parents[3]
TERMS = {"schema": 1, "validity": {"from": date(2026, 1, 1)}, "arrays": [{"shape": [4], "name": "x ä"}], "share": 0.1}
NO_TABLES = (
    ("tool", 3),
    ("tool", "flwr", 3),
    ("tool", "flwr", "app", 3),
    ("tool", "flwr", "app", "components", 3),
    ("tool", "flwr", "app", "config", 3),
    ("tool", "flwr", "app", "config", [1]),
)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app."""
    return write_app(tmp_path / "small-app")


def built_by_flower(app: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the function behind `flwr build` writes."""
    into.mkdir()
    monkeypatch.chdir(into)
    flwr.cli.build.build(app)
    (fab,) = into.glob("*.fab")
    return fab.read_bytes()


def refused(call: Callable[[], object]) -> InputError:
    """The error of a call that must fail with a sentence."""
    with pytest.raises(InputError) as caught:
        call()
    return caught.value


def without_terms(fab: Fab) -> dict[str, Any]:
    """A bundle's pyproject without [tool.flame]."""
    told = tomllib.loads(fab.files["pyproject.toml"].decode())
    return {**told, "tool": {k: v for k, v in told["tool"].items() if k != "flame"}}


class TestTheBytes:
    @pytest.mark.parametrize(
        "app",
        ["tests/integration/apps/toy", "tests/integration/apps/plain", "use_cases/methylation-age"],
    )
    def test_they_are_those_of_flowers_builder(self, app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """For every app of this repository, `flwr build` makes the same file."""
        assert build_fab(ROOT / app) == built_by_flower(ROOT / app, tmp_path / "dist", monkeypatch)

    @pytest.mark.slow
    def test_the_flwr_program_gives_the_same_hash(self, app: Path, tmp_path: Path) -> None:
        """The program a researcher would type, in a process of its own, agrees on the FAB hash."""
        environment = os.environ | {"FLWR_HOME": str(tmp_path / "home"), "FLWR_DISABLE_UPDATE_CHECK": "1"}
        program = Path(sys.executable).parent / "flwr"
        subprocess.run([program, "build", "--app", app], cwd=tmp_path, env=environment, check=True, timeout=120)
        (fab,) = tmp_path.glob("*.fab")
        assert read_fab(build_fab(app)).sha256 == hashlib.sha256(fab.read_bytes()).hexdigest()

    def test_they_do_not_depend_on_times_or_permissions(self, app: Path) -> None:
        """A copy made on another day by another user is the same bundle."""
        before = build_fab(app)
        for file in app.rglob("*.*"):
            os.utime(file, (1, 1))
            file.chmod(0o600)
        assert build_fab(app) == before

    def test_they_do_not_depend_on_where_the_folder_lies(self, app: Path, tmp_path: Path) -> None:
        """The path and the name of the folder are not in the bundle."""
        before = build_fab(app)
        assert build_fab(app.rename(tmp_path / "elsewhere")) == before

    def test_one_changed_byte_is_another_bundle(self, app: Path) -> None:
        """The approval of one is not the approval of the other."""
        before = build_fab(app)
        (app / "small_app" / "client_app.py").write_text("app = 3\n")
        assert build_fab(app) != before

    def test_a_relative_folder_is_the_same_as_an_absolute_one(self, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """`flame app build .` works."""
        before = build_fab(app)
        monkeypatch.chdir(app)
        assert build_fab(Path()) == before

    def test_building_writes_nothing_into_the_folder(self, app: Path) -> None:
        """What the researcher has stays as it was."""
        before = sorted(app.rglob("*"))
        build_fab(app)
        assert sorted(app.rglob("*")) == before

    def test_building_prints_nothing(self, app: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Standard output belongs to the command, which may print JSON."""
        build_fab(app)
        assert capfd.readouterr() == ("", "")


class TestTheFiles:
    @pytest.mark.parametrize("name", ["more.py", "small_app/panel.json", "README.md", "terms.yaml"])
    def test_code_and_small_tables_are_in(self, name: str, tmp_path: Path) -> None:
        """Files of the kinds that Flower bundles."""
        assert name in read_fab(build_fab(write_app(tmp_path / "small-app", {name: "{}"}))).files

    @pytest.mark.parametrize(
        "name",
        ["data.csv", "weights.bin", ".venv/x.py", "__pycache__/x.py", "tests/test_x.py", "secret.py", "out/x.py"],
    )
    def test_data_environments_tests_and_ignored_files_are_out(self, name: str, tmp_path: Path) -> None:
        """Nothing goes to the hub that `flwr run` would not send; .gitignore is respected."""
        files = {name: "x", ".gitignore": "secret.py\nout/\n"}
        assert name not in read_fab(build_fab(write_app(tmp_path / "small-app", files))).files

    def test_a_link_is_not_followed_out_of_the_folder(self, app: Path, tmp_path: Path) -> None:
        """A file elsewhere on the researcher's machine does not get into the bundle."""
        (tmp_path / "private.md").write_text("private")
        (app / "linked.md").symlink_to(tmp_path / "private.md")
        assert "linked.md" not in read_fab(build_fab(app)).files

    def test_the_terms_are_inside(self, app: Path) -> None:
        """[tool.flame] travels with the code it is about."""
        assert read_fab(build_fab(app)).setting("tool", "flame") == PYPROJECT["tool"]["flame"]


class TestWhatCannotBeBundled:
    def test_no_folder(self, tmp_path: Path) -> None:
        """The sentence names the folder."""
        assert str(tmp_path / "none") in refused(lambda: build_fab(tmp_path / "none")).message

    def test_a_file(self, tmp_path: Path) -> None:
        """A file is no folder."""
        (tmp_path / "file.py").write_text("")
        assert "no folder" in refused(lambda: build_fab(tmp_path / "file.py")).message

    def test_no_pyproject(self, app: Path) -> None:
        """It says which file is missing and how to begin."""
        (app / "pyproject.toml").unlink()
        error = refused(lambda: build_fab(app))
        assert "pyproject.toml" in error.message
        assert "flame app new" in error.mend

    @pytest.mark.parametrize(
        ("pyproject", "said"),
        [
            (b"not TOML", "Expected '='"),
            (b"\xff\xfe", "utf-8"),
            (b"", "[project]"),
            (b"a = " + b"9" * 5000, "digits"),
            (changed("project", "name", ""), "name"),
            (changed("project", "name", "a b"), "a b"),
            (changed("project", {"name": "small-app"}), "version"),
            (changed("tool", "flwr", "app", {"components": {}}), "publisher"),
            (changed("tool", "flwr", "app", "components", {"serverapp": "a:b"}), "clientapp"),
            (changed("tool", "flwr", "app", "fab-include", ["*.bin"]), "*.bin"),
        ],
    )
    def test_a_malformed_pyproject(self, pyproject: Any, said: str, tmp_path: Path) -> None:
        """One line with the app's name, what is wrong in Flower's words, and where to correct it."""
        error = refused(lambda: build_fab(write_app(tmp_path / "small-app", pyproject=pyproject)))
        assert error.message.startswith("small-app cannot be bundled")
        assert said in error.message
        assert "\n" not in error.message
        assert "pyproject.toml" in error.mend

    @pytest.mark.parametrize("path_and_value", NO_TABLES, ids=str)
    def test_a_value_where_a_table_belongs(self, path_and_value: tuple[Any, ...], tmp_path: Path) -> None:
        """A slip in pyproject.toml is the user's, with a sentence, and no bug of flame."""
        refused(lambda: build_fab(write_app(tmp_path / "small-app", pyproject=changed(*path_and_value))))

    def test_a_pyproject_nested_without_end(self, tmp_path: Path) -> None:
        """As for a bundle (`contract/fab.py`), endless nesting is an input error."""
        refused(lambda: build_fab(write_app(tmp_path / "small-app", pyproject=b"a = " + b"[" * 5000)))

    def test_too_large_a_folder(self, tmp_path: Path) -> None:
        """Flower's limit is told before anybody is asked."""
        noise = base64.b64encode(random.Random(1).randbytes(MAX_FAB_BYTES + 2**18)).decode()
        error = refused(lambda: build_fab(write_app(tmp_path / "small-app", {"small_app/table.json": noise})))
        assert f"{MAX_FAB_BYTES:,}" in error.message

    @pytest.mark.parametrize(
        "pyproject",
        [
            b"x",
            b"",
            changed("project", "name", "a b"),
        ],
    )
    def test_a_sentence_ends_with_one_full_stop(self, pyproject: Any, tmp_path: Path) -> None:
        """Whatever Flower's own words end with."""
        error = refused(lambda: build_fab(write_app(tmp_path / "small-app", pyproject=pyproject)))
        assert error.message.endswith(".")
        assert not error.message.endswith("..")

    def test_a_path_too_deep_for_flower(self, tmp_path: Path) -> None:
        """The path is named."""
        deep = "/".join(["small_app", *"abcdefghijkl", "x.py"])
        assert deep in refused(lambda: build_fab(write_app(tmp_path / "small-app", {deep: ""}))).message


class TestAnotherAnalysisOfTheSameApp:
    def test_it_states_the_other_terms(self, app: Path) -> None:
        """Exactly those, dates and lists of tables included."""
        assert read_fab(with_terms(app, TERMS)).setting("tool", "flame") == TERMS

    def test_everything_else_in_pyproject_is_the_same(self, app: Path) -> None:
        """Name, run config, components and foreign tables."""
        assert without_terms(read_fab(with_terms(app, TERMS))) == without_terms(read_fab(build_fab(app)))

    def test_every_other_file_is_the_same(self, tmp_path: Path) -> None:
        """Same paths, same bytes, .gitignore respected."""
        files = {"small_app/panel.json": "[1]", "secret.py": "", ".gitignore": "secret.py\n", "README.md": "é"}
        app = write_app(tmp_path / "small-app", files)
        stated, derived = read_fab(build_fab(app)).files, read_fab(with_terms(app, TERMS)).files
        assert {k: v for k, v in derived.items() if k != "pyproject.toml"} == {
            k: v for k, v in stated.items() if k != "pyproject.toml"
        }

    @pytest.mark.parametrize("name", ["flame-notes.md", "small_app/flame-panel.json", "flame-tools/x.py"])
    def test_files_named_after_flame_are_in_both(self, name: str, tmp_path: Path) -> None:
        """Nothing of the code is lost because of its name."""
        app = write_app(tmp_path / "small-app", {name: "{}"})
        assert set(read_fab(with_terms(app, TERMS)).files) == set(read_fab(build_fab(app)).files)

    def test_links_are_in_neither(self, app: Path, tmp_path: Path) -> None:
        """A file elsewhere on the researcher's machine does not get into the derived bundle either."""
        (tmp_path / "private.md").write_text("private")
        (app / "linked.md").symlink_to(tmp_path / "private.md")
        assert "linked.md" not in read_fab(with_terms(app, TERMS)).files

    def test_a_link_that_points_nowhere_does_no_harm(self, app: Path) -> None:
        """What can be bundled can be derived from."""
        (app / "gone.md").symlink_to(app / "nowhere")
        build_fab(app)
        assert "gone.md" not in read_fab(with_terms(app, TERMS)).files

    def test_files_that_the_app_leaves_out_stay_out(self, app: Path) -> None:
        """Patterns of ``fab-exclude`` match nothing any more in what is derived, and are no error."""
        (app / "small_app" / "tool.py").write_text("desk = True\n")
        told = (app / "pyproject.toml").read_text()
        assert "[tool.flwr.app]" in told
        told = told.replace("[tool.flwr.app]", '[tool.flwr.app]\nfab-exclude = ["small_app/tool.py"]', 1)
        (app / "pyproject.toml").write_text(told)
        derived = read_fab(with_terms(app, TERMS))
        assert set(derived.files) == set(read_fab(build_fab(app)).files)
        assert "small_app/tool.py" not in derived.files

    def test_the_researchers_folder_stays_as_it_was(self, app: Path) -> None:
        """Deriving writes elsewhere."""
        before = {p: p.read_bytes() for p in app.rglob("*") if p.is_file()}
        with_terms(app, TERMS)
        assert {p: p.read_bytes() for p in app.rglob("*") if p.is_file()} == before

    def test_the_same_terms_give_the_same_bytes_twice(self, app: Path) -> None:
        """A derived analysis can be derived again, and has the same digest."""
        assert with_terms(app, TERMS) == with_terms(app, TERMS)

    def test_the_stated_terms_give_the_stated_bundle(self, app: Path) -> None:
        """Deriving with nothing changed is no other analysis."""
        assert with_terms(app, PYPROJECT["tool"]["flame"]) == build_fab(app)

    @pytest.mark.parametrize("how", ["no folder", "no pyproject", "no TOML"])
    def test_what_cannot_be_bundled_is_the_same_sentence(self, how: str, app: Path) -> None:
        """The docstring promises the errors of build_fab."""
        if how == "no TOML":
            (app / "pyproject.toml").write_text("not TOML")
        elif how == "no pyproject":
            (app / "pyproject.toml").unlink()
        folder = app if how != "no folder" else app / "none"
        assert refused(lambda: with_terms(folder, TERMS)).message == refused(lambda: build_fab(folder)).message
