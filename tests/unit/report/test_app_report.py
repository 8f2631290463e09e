"""The app's ``report.json`` and its pictures are untrusted: what is accepted, and what is refused how."""

import json
import os

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.report import load_app_report
from flame_fl.report.app_report import MAX_FIGURE_BYTES, MAX_REPORT_BYTES
from flame_fl.report.files import load_figures

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>'
PNG = b"\x89PNG\r\n\x1a\n rest"


def with_figure(name):
    return {"figures": [{"file": name, "title": "t"}]}


def test_a_run_without_app_report_has_none(tmp_path):
    """No report.json is no error: an app owes none."""
    assert load_app_report(tmp_path) is None


def test_a_full_report_is_read_as_it_stands(tmp_path, app_leaves):
    """Every field of the schema arrives unchanged, pictures in the report's order."""
    table = {"title": "T", "columns": ["a", "b", "c"], "rows": [["x", 1, 2.5]]}
    stated = {"title": "t", "data_note": "synthetic", "headline": [{"label": "l", "value": "1"}], "tables": [table]}
    stated |= {"figures": [{"file": "plots/b.png"}, {"file": "plots/a.svg"}], "notes": ["n"]}
    report = load_app_report(app_leaves(tmp_path, stated, {"a.svg": SVG, "b.png": PNG}))
    assert report is not None
    assert report.model_dump(mode="json", exclude_unset=True) == stated
    assert load_figures(tmp_path, report) == (PNG, SVG.encode())


@pytest.mark.parametrize(
    "name",
    [
        "../secret.svg",
        "plots/../../secret.svg",
        "/etc/passwd.svg",
        "plots//etc/passwd.svg",
        "plots/sub/x.svg",
        "plots\\x.svg",
        "x.svg",
        "plots/.svg",
        "plots/x.html",
        "plots/x.svg\n",
        "plots/x.svg\u0000.png",
        "file:///etc/passwd.svg",
        "plots/%2e%2e/x.svg",
        "plots/ⅹ.svg",
    ],
)
def test_a_figure_outside_the_plots_folder_cannot_be_named(tmp_path, app_leaves, name):
    """Only a plain name directly in plots/ passes the schema; the error names the field."""
    with pytest.raises(InputError, match=r"figures\.0\.file"):
        load_app_report(app_leaves(tmp_path, with_figure(name)))


@pytest.mark.parametrize(
    "stated",
    [
        {"unknown": 1},
        {"title": 5},
        {"title": "x" * 201},
        {"notes": ["n"] * 25},
        {"headline": [{"label": "l", "value": 1.0}]},
        {"tables": [{"columns": [], "rows": []}]},
        {"tables": [{"columns": ["a"], "rows": [["x", "y"]]}]},
        {"tables": [{"columns": ["a"], "rows": [[True]]}]},
        {"tables": [{"columns": ["a"], "rows": [[{"html": "x"}]]}]},
        {"tables": [{"columns": ["a"], "rows": [[float("nan")]]}]},
        {"tables": [{"columns": ["a"], "rows": [[10**400]]}]},
        {"tables": [{"columns": ["a"], "rows": [["x"]] * 501}]},
        [],
        "text",
    ],
)
def test_what_the_schema_does_not_allow_is_refused(tmp_path, app_leaves, stated):
    """Unknown fields, wrong types, non-finite numbers and too much of anything are errors, never converted."""
    with pytest.raises(InputError, match=r"report\.json is not valid"):
        load_app_report(app_leaves(tmp_path, stated))


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe{}", b"[" * 5000, b'{"title": "\\ud800"}'])
def test_bytes_that_are_not_json_are_refused(tmp_path, raw):
    """Broken JSON, broken UTF-8 and endless nesting end in one sentence."""
    (tmp_path / "report.json").write_bytes(raw)
    with pytest.raises(InputError, match=r"report\.json is not valid"):
        load_app_report(tmp_path)


def test_the_error_does_not_repeat_what_the_app_wrote(tmp_path, app_leaves):
    """A value that breaks the schema stays out of the error text."""
    with pytest.raises(InputError) as refused:
        load_app_report(app_leaves(tmp_path, {"title": {"patient-4711": "HIV"}, "<b>evil</b>": "4711"}))
    assert "4711" not in str(refused.value)
    assert "<b>" not in str(refused.value)


def test_a_report_over_its_limit_is_refused(tmp_path):
    """One byte too many is refused, and no more than the limit is read."""
    (tmp_path / "report.json").write_bytes(b" " * MAX_REPORT_BYTES + b"{}")
    with pytest.raises(InputError, match="larger than"):
        load_app_report(tmp_path)


def test_a_figure_over_its_limit_is_refused(tmp_path, app_leaves):
    """The limit of a picture is checked on its bytes, not on what the app says."""
    app_leaves(tmp_path, with_figure("plots/a.png"), {"a.png": PNG + bytes(MAX_FIGURE_BYTES)})
    with pytest.raises(InputError, match=r"plots/a\.png is larger than"):
        load_figures(tmp_path, load_app_report(tmp_path))


def test_all_figures_together_have_a_limit(tmp_path, app_leaves):
    """Many pictures, each within its limit, cannot make the page boundless."""
    app_leaves(tmp_path, {"figures": [{"file": "plots/a.png"}] * 24}, {"a.png": PNG + bytes(2 * 2**20)})
    with pytest.raises(InputError, match="larger than"):
        load_figures(tmp_path, load_app_report(tmp_path))


def test_a_linked_report_is_refused(tmp_path):
    """report.json as a link to another file is not read, even if that file is a valid report."""
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "report.json").symlink_to(tmp_path / "other.json")
    with pytest.raises(InputError, match="cannot be opened"):
        load_app_report(tmp_path)


def test_a_linked_figure_is_refused(tmp_path, app_leaves):
    """A link in plots/ is not followed, wherever it points."""
    app_leaves(tmp_path, with_figure("plots/a.svg"), {"b.svg": SVG})
    (tmp_path / "plots" / "a.svg").symlink_to(tmp_path / "plots" / "b.svg")
    with pytest.raises(InputError, match=r"plots/a\.svg cannot be opened"):
        load_figures(tmp_path, load_app_report(tmp_path))


def test_a_linked_plots_folder_is_refused(tmp_path):
    """plots/ itself may not be a link out of the run's folder."""
    outside, run_dir = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    run_dir.mkdir()
    (outside / "a.svg").write_text(SVG)
    (run_dir / "plots").symlink_to(outside)
    (run_dir / "report.json").write_text(json.dumps(with_figure("plots/a.svg")))
    with pytest.raises(InputError, match="cannot be opened"):
        load_figures(run_dir, load_app_report(run_dir))


def test_a_pipe_is_refused_and_does_not_block(tmp_path):
    """A named pipe where report.json should be ends in an error, not in waiting for ever."""
    os.mkfifo(tmp_path / "report.json")
    with pytest.raises(InputError, match="not a regular file"):
        load_app_report(tmp_path)


def test_a_missing_figure_is_named(tmp_path, app_leaves):
    """The error says which file the app promised and did not write."""
    app_leaves(tmp_path, with_figure("plots/gone.svg"))
    with pytest.raises(InputError, match=r"plots/gone\.svg, which is not in the run's folder"):
        load_figures(tmp_path, load_app_report(tmp_path))


@pytest.mark.parametrize("content", [b"", b"GIF89a", SVG.encode()])
def test_a_png_that_is_none_is_refused(tmp_path, app_leaves, content):
    """The name does not make a picture."""
    app_leaves(tmp_path, with_figure("plots/a.png"), {"a.png": content})
    with pytest.raises(InputError, match="not a PNG"):
        load_figures(tmp_path, load_app_report(tmp_path))
