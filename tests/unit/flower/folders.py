"""Folders of small Flower apps, as a researcher would have them."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

PYPROJECT: dict[str, Any] = {
    "project": {"name": "small-app", "version": "0.1.0", "dependencies": ["flwr>=1.41"]},
    "tool": {
        "flwr": {
            "app": {
                "publisher": "someone",
                "components": {"serverapp": "small_app.server_app:app", "clientapp": "small_app.client_app:app"},
                "config": {"rounds": 3},
            },
        },
        "flame": {"schema": 1, "word": "ä", "tables": [{"shape": [1, "<=3"]}]},
        "other": {"kept": True},
    },
}


def changed(*path_and_value: Any) -> dict[str, Any]:
    """The pyproject with one value replaced: `changed("tool", "flwr", 3)`."""
    *path, last, value = path_and_value
    whole = copy.deepcopy(PYPROJECT)
    table = whole
    for key in path:
        table = table[key]
    table[last] = value
    return whole


def write_app(
    folder: Path, files: Mapping[str, str] | None = None, *, pyproject: Mapping[str, Any] | bytes | None = None
) -> Path:
    """An app in `folder`, with more files; `pyproject` is a table, or bytes that stand for the file."""
    told = PYPROJECT if pyproject is None else pyproject
    raw = told if isinstance(told, bytes) else tomli_w.dumps(told).encode()
    given = {
        "small_app/__init__.py": "",
        "small_app/client_app.py": "app = 1\n",
        "small_app/server_app.py": "app = 2\n",
    }
    for name, text in (given | dict(files or {})).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "pyproject.toml").write_bytes(raw)
    return folder
