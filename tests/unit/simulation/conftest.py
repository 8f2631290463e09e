"""A researcher's folder made of terms and source text."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.support.gates import terms_table

MakeApp = Callable[..., Path]


@pytest.fixture
def make_app(tmp_path: Path) -> MakeApp:
    """Writes a Flower app. `terms` is its [tool.flame]; an empty mapping leaves it out."""
    made = 0

    def make(terms: Mapping[str, Any] | None = None, files: Mapping[str, str] | None = None) -> Path:
        nonlocal made
        made += 1
        folder = tmp_path / f"app-{made}" / "an-app"
        components = {"serverapp": "an_app.server:app", "clientapp": "an_app.client:app"}
        config = {"rounds": 3, "rate": 0.5}
        stated = terms_table() if terms is None else dict(terms)
        pyproject = {
            "project": {"name": "an-app", "version": "1.0.0"},
            "tool": {"flwr": {"app": {"publisher": "someone", "components": components, "config": config}}},
        }
        if stated:
            pyproject["tool"]["flame"] = stated
        source = {
            "an_app/__init__.py": "",
            "an_app/client.py": "from flwr.clientapp import ClientApp\napp = ClientApp()\n",
            "an_app/server.py": "from flwr.serverapp import ServerApp\napp = ServerApp()\n",
            "pyproject.toml": tomli_w.dumps(pyproject),
        }
        for name, text in (source | dict(files or {})).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    return make
