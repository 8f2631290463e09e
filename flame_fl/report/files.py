"""Reads the files that an app left in the run's folder, which are untrusted.

Invariants: no link is followed below the run's folder; only regular files are opened, none that could block;
nothing larger than its limit is read; a picture is what its name says and holds nothing active. Error texts
name the file and the rule, never content.
"""

import os
import stat
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from flame_fl.contract.errors import InputError
from flame_fl.report.app_report import MAX_FIGURE_BYTES, MAX_FIGURES_BYTES, MAX_REPORT_BYTES, AppReport
from flame_fl.report.svg import ActiveSvgError, check_svg

_NAME: Final = "report.json"
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PLAIN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def load_app_report(run_dir: Path) -> AppReport | None:
    """Read and check the app's ``report.json``.

    Returns:
        The report, or ``None`` if the app left none.

    Raises:
        InputError: it is a link, too large, or breaks the schema; the text names the field.
    """
    try:
        raw_report = _read_plain_file(run_dir, _NAME, MAX_REPORT_BYTES)
    except FileNotFoundError:
        return None
    try:
        return AppReport.model_validate_json(raw_report)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"] if isinstance(part, int) or part.isidentifier())
        where = f" at {place}" if place else ""
        raise InputError(
            f"The app's {_NAME} is not valid{where}: {first['msg']}.",
            mend="Correct what the app writes to FLAME_OUT/report.json.",
        ) from None


def load_figures(run_dir: Path, report: AppReport) -> tuple[bytes, ...]:
    """Read the pictures of ``report`` in their order.

    Raises:
        InputError: a picture is missing, a link, too large, or not a passive SVG or a PNG.
    """
    pictures: list[bytes] = []
    room = MAX_FIGURES_BYTES
    for figure in report.figures:
        try:
            picture = _read_plain_file(run_dir, figure.file, min(MAX_FIGURE_BYTES, room))
        except FileNotFoundError:
            raise InputError(
                f"The app's {_NAME} names {figure.file}, which is not in the run's folder.",
                mend="Write the figure below FLAME_OUT/plots before the run ends.",
            ) from None
        _check_picture(figure.file, picture)
        room -= len(picture)
        pictures.append(picture)
    return tuple(pictures)


def _read_plain_file(run_dir: Path, relative: str, limit_bytes: int) -> bytes:
    """Read ``relative`` (``name`` or ``folder/name``) below ``run_dir``, opening one part after the other.

    Opening each part relative to the folder opened before it leaves no moment in which a part could be
    exchanged for a link between a check and its use.
    """
    *folders, name = relative.split("/")
    place = os.open(run_dir, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, _PLAIN | os.O_DIRECTORY, dir_fd=place)
            os.close(place)
            place = inner
        with os.fdopen(os.open(name, _PLAIN, dir_fd=place), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"The app's {relative} is not a regular file.", mend="Write a plain file there.")
            content = file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(
            f"The app's {relative} cannot be opened: {os.strerror(error.errno or 0)}.",
            mend="Write a plain file in a plain folder; links are not followed.",
        ) from None
    finally:
        os.close(place)
    if len(content) > limit_bytes:
        raise InputError(
            f"The app's {relative} is larger than the {limit_bytes:,} bytes that are left for it.",
            mend="Draw fewer points, or use a PNG for a dense scatter plot.",
        )
    return content


def _check_picture(name: str, content: bytes) -> None:
    if name.endswith(".png"):
        if not content.startswith(_PNG_SIGNATURE):
            raise InputError(f"The app's {name} is not a PNG picture.", mend="Save the figure as PNG or SVG.")
        return
    try:
        check_svg(content)
    except ActiveSvgError as active:
        raise InputError(
            f"The app's {name} cannot be shown: {active}.", mend="Save a plain SVG, without scripts or links."
        ) from None
