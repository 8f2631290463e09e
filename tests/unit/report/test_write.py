"""Writing a report: both files, complete or absent, the same every time, whatever the app left."""

import json
import subprocess
import sys

import pytest

from flame_fl.contract.errors import FlameError
from flame_fl.report import Result, load_app_report, page, require_extras, write_report

SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.fixture
def quick(make_facts):
    """A run without plots of its own, to write quickly."""
    return make_facts(rounds=(), noise_seeded=True)


def test_result_json_holds_all_facts_and_the_apps_report(tmp_path, app_leaves, facts):
    """Reading result.json gives back the facts and the app's report, unchanged."""
    app_leaves(tmp_path, {"title": "T", "figures": [{"file": "plots/a.svg"}]}, {"a.svg": SVG})
    write_report(tmp_path, facts)
    result = Result.model_validate_json((tmp_path / "result.json").read_bytes())
    assert result == Result(run=facts, app_report=load_app_report(tmp_path))


def test_facts_that_json_has_no_words_for_survive(tmp_path, hostile):
    """NaN, infinity and every hostile string come back; the file is pure ASCII JSON."""
    write_report(tmp_path, hostile)
    raw = (tmp_path / "result.json").read_bytes()
    assert raw.isascii()
    json.loads(raw, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    again = Result.model_validate_json(raw).run
    assert json.loads(again.model_dump_json()) == json.loads(hostile.model_dump_json())
    assert "NaN" in hostile.model_dump_json()


def test_the_same_facts_give_the_same_bytes(tmp_path, app_leaves, facts):
    """Two folders of one name, one set of facts, mappings in another order: equal files."""
    shuffled = facts.model_copy(update={"versions": dict(reversed(list(facts.versions.items())))})
    written = []
    for parent, run in (("a", facts), ("b", shuffled)):
        run_dir = app_leaves(tmp_path / parent / "run", {"figures": [{"file": "plots/a.svg"}]}, {"a.svg": SVG})
        page = write_report(run_dir, run)
        written.append((page.read_bytes(), (run_dir / "result.json").read_bytes()))
    assert written[0] == written[1]


def test_an_interrupted_run_gets_a_report_with_the_reason(tmp_path, make_facts):
    """A run that did not finish says so first, and keeps what it has."""
    page = write_report(tmp_path, make_facts(status="interrupted", reason="Ctrl-C in round 9.")).read_text()
    assert "The run was interrupted after 26 rounds" in page
    assert "Ctrl-C in round 9." in page
    assert json.loads((tmp_path / "result.json").read_text())["run"]["status"] == "interrupted"


def test_a_run_of_nothing_gets_a_report(tmp_path, make_facts):
    """No node and no round is a report too."""
    page = write_report(tmp_path, make_facts(nodes=(), rounds=(), ended=None, status="failed", reason="r")).read_text()
    assert "No DIZ took part." in page
    assert "No round began." in page


@pytest.mark.parametrize(
    "stated", [{"title": 1}, {"figures": [{"file": "../x.svg"}]}, {"figures": [{"file": "plots/x.svg"}]}]
)
def test_a_refused_app_report_costs_only_the_apps_part(tmp_path, app_leaves, quick, caplog, stated):
    """The gates' facts are written; page, result.json and log say why the app's part is missing."""
    page = write_report(app_leaves(tmp_path, stated), quick).read_text()
    result = Result.model_validate_json((tmp_path / "result.json").read_bytes())
    assert result.app_report is None
    assert "report.json" in result.app_report_refused
    assert "The app’s own report is left out." in page
    assert "DIZ-1" in page
    assert "left out" in caplog.text


def test_a_failed_write_leaves_the_previous_report(tmp_path, quick, monkeypatch):
    """If the disk fails, the old files stay whole and nothing half-written lies beside them."""
    write_report(tmp_path, quick)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FlameError, match="No space left on device"):
        write_report(tmp_path, quick.model_copy(update={"seed": 8}))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_planted_link_is_replaced_not_followed(tmp_path, quick):
    """An app that left report.html as a link cannot make us overwrite the file behind it."""
    treasure = tmp_path / "treasure"
    treasure.write_text("untouched")
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "report.html").symlink_to(treasure)
    write_report(run_dir, quick)
    assert treasure.read_text() == "untouched"
    assert not (run_dir / "report.html").is_symlink()


def test_only_the_owner_can_read_the_report(tmp_path, quick):
    """Sharing a report is a decision, not a default."""
    page = write_report(tmp_path, quick)
    assert page.stat().st_mode & 0o077 == 0
    assert (tmp_path / "result.json").stat().st_mode & 0o077 == 0


def test_a_missing_folder_is_an_error_with_a_mend(tmp_path, quick):
    """The folder of the run is the caller's to make."""
    with pytest.raises(FlameError, match=r"cannot be written.*Make sure"):
        write_report(tmp_path / "nowhere", quick)


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_a_missing_library_gives_the_pip_command(tmp_path, facts, monkeypatch, library):
    """Without the extra, the error names the library and the command, and result.json is there all the same."""
    page._environment.cache_clear()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(FlameError, match=rf"needs {library}.*pip install 'flame-fl\[report\]'"):
        require_extras()
    with pytest.raises(FlameError, match="pip install"):
        write_report(tmp_path, facts)
    assert (tmp_path / "result.json").exists()
    assert not (tmp_path / "report.html").exists()


def test_importing_the_package_needs_no_extra():
    """A hospital's node imports flame_fl.report without jinja2 or matplotlib being touched."""
    code = "import sys, flame_fl.report; assert not {'jinja2', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
