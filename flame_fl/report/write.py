"""Writes a run's report.

Invariants: each file is complete or absent, and a previous one stays whole until it is replaced; an app
report that is refused costs the app's part of the page, never the gates' facts; files are readable by their
owner only, as results of a hospital's data should be until somebody shares them.
"""

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Final

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.report.app_report import AppReport
from flame_fl.report.facts import Result, RunFacts
from flame_fl.report.files import load_app_report, load_figures
from flame_fl.report.page import render

PAGE: Final = "report.html"
RESULT: Final = "result.json"
_log = logging.getLogger(__name__)


def write_report(run_dir: Path, facts: RunFacts) -> Path:
    """Write ``result.json`` and ``report.html`` into the run's folder.

    An invalid ``report.json``, or a figure that is not a plain picture, is left out as a whole: the page and
    ``result.json`` say why, and a warning is logged. Call `load_app_report` first to have it raised instead.

    Args:
        run_dir: the run's folder; ``report.json`` and ``plots/`` are read from it if they are there.
        facts: what the gates and the simulation or hub recorded.

    Returns:
        The path of ``report.html``.

    Raises:
        FlameError: the folder is missing or cannot be written, or a library of the extra ``report`` is
            missing; ``result.json`` is written before the libraries are needed.
    """
    refused = ""
    app_report: AppReport | None = None
    figures: tuple[bytes, ...] = ()
    try:
        app_report = load_app_report(run_dir)
        figures = load_figures(run_dir, app_report) if app_report else ()
    except InputError as error:
        app_report, refused = None, error.message
        _log.warning("The app's own report is left out: %s", error)
    result = Result(run=facts, app_report=app_report, app_report_refused=refused)
    _replace(run_dir / RESULT, _canonical(result))
    page = render(result, figures, run_dir.resolve().name)
    _replace(run_dir / PAGE, page.encode("utf-8"))
    return run_dir / PAGE


def _canonical(result: Result) -> bytes:
    """JSON with sorted keys; ASCII only, so that no character can deceive a terminal."""
    plain = json.loads(result.model_dump_json())  # by way of text, in which NaN and infinity become strings
    return (json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _replace(target: Path, content: bytes) -> None:
    """Put ``content`` in ``target``'s place in one step, following no link that stands there."""
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FlameError(
            f"{target} cannot be written: {error.strerror}.",
            mend="Make sure that the run's folder exists, is yours and has room.",
        ) from error
