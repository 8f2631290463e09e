"""Building a FAB from a researcher's folder, with Flower's own builder, and deriving one with other terms."""

import contextlib
import io
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flame_fl.contract.errors import InputError


def build_fab(app_dir: Path) -> bytes:
    """The bundle's bytes, as `flwr build` and `flwr run` would make them.

    Raises:
        InputError: No folder, no pyproject.toml, or not a Flower app; the sentence is Flower's.
    """
    app_dir = app_dir.expanduser().resolve()
    if not app_dir.is_dir():
        raise InputError(f"There is no folder {app_dir}.", mend="Give the folder of a Flower app.")
    if not (app_dir / "pyproject.toml").is_file():
        raise InputError(
            f"{app_dir} is no Flower app: it has no pyproject.toml.",
            mend="Give the folder of a Flower app, or make one with `flame app new`.",
        )
    import click
    from flwr.cli.build import build_fab_from_disk
    from flwr.cli.utils import AppPathDepthError

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return build_fab_from_disk(app_dir)
    except (ValueError, AppPathDepthError, click.ClickException, tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        text = " ".join(str(getattr(err, "message", None) or err).split())
        raise InputError(f"{app_dir.name} cannot be bundled: {text}.", mend="Correct its pyproject.toml.") from err


def with_terms(app_dir: Path, terms: Mapping[str, Any]) -> bytes:
    """The bundle of the same app with another `[tool.flame]`: another analysis, with its own digest.

    Raises:
        InputError: As `build_fab`.
    """
    import tomli_w

    app_dir = app_dir.expanduser().resolve()
    with tempfile.TemporaryDirectory(prefix="flame-derive-") as scratch:
        copy = Path(scratch) / app_dir.name
        shutil.copytree(app_dir, copy, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", "flame-*"))
        pyproject = tomllib.loads((copy / "pyproject.toml").read_text())
        pyproject["tool"]["flame"] = dict(terms)
        (copy / "pyproject.toml").write_text(tomli_w.dumps(pyproject))
        return build_fab(copy)
