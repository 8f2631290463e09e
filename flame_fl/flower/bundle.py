"""Building a FAB from a researcher's folder, with Flower's own builder, and deriving one with other terms."""

import contextlib
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import read_fab


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
    except (ValueError, AppPathDepthError, click.ClickException) as err:
        text = " ".join(str(getattr(err, "message", None) or err).split()).rstrip(".")
        raise _unfit(app_dir, text) from err
    except (TypeError, AttributeError, LookupError, RecursionError) as err:  # a value where Flower expects a table
        text = f"its pyproject.toml is not of the form that Flower expects ({type(err).__name__})"
        raise _unfit(app_dir, text) from err


def _unfit(app_dir: Path, why: str) -> InputError:
    return InputError(f"{app_dir.name} cannot be bundled: {why}.", mend="Correct its pyproject.toml.")


def with_terms(app_dir: Path, terms: Mapping[str, Any]) -> bytes:
    """The bundle of the same app with another `[tool.flame]`: another analysis, with its own digest.

    Raises:
        InputError: As `build_fab`.
    """
    import tomli_w

    fab = read_fab(build_fab(app_dir))  # from what is bundled, not from the folder: the same files but one
    tool = {**fab.pyproject["tool"], "flame": dict(terms)}
    if "fab-exclude" in (filters := tool["flwr"].get("app", {})):  # left out already, and Flower would miss them
        rest = {name: value for name, value in filters.items() if name != "fab-exclude"}
        tool["flwr"] = {**tool["flwr"], "app": rest}
    pyproject = {**fab.pyproject, "tool": tool}
    with tempfile.TemporaryDirectory(prefix="flame-derive-") as scratch:
        copy = Path(scratch) / app_dir.expanduser().resolve().name
        for name, data in {**fab.files, "pyproject.toml": tomli_w.dumps(pyproject).encode()}.items():
            path = copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return build_fab(copy)
