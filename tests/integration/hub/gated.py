"""An app whose ClientApp answers as a gate would, at stock SuperNodes: the steward is a file in the node's home.

What a gate decides is tested at real gates; this is for a hub's side of waiting, with processes that a test may kill.
"""

from pathlib import Path

from tests.integration.hub.lab import Lab, make_app

_CLIENT = """
import os
from pathlib import Path
from flwr.app import ConfigRecord

@app.query("flame_status")
def status(msg, context):
    home = Path(os.environ["FLWR_HOME"])
    with (home / "asked").open("a") as file:
        file.write("x")
    said = (home / "steward").read_text() if (home / "steward").exists() else "pending"
    code = {"approved": 0, "pending": 902, "rejected": 901}[said]
    return Message(RecordDict({"flame": ConfigRecord({"status": said, "code": code, "by": ""})}), reply_to=msg)
"""
_TERMS = """
[tool.flame]
schema = 1
[tool.flame.project]
id = "steps"
title = "Steps"
purpose = "Tests"
legal_basis = "None"
ethics_reference = "None"
responsible_person = "Nobody"
[tool.flame.messages.train]
per_run = 100
arrays = [{ record = "arrays", name = "x", dtype = "float64", shape = [3] }]
[tool.flame.privacy]
[tool.flame.validity]
from = 2020-01-01
until = 2099-01-01
[tool.flame.federation]
min_sites = MIN_SITES
"""


def make_gated_app(folder: Path, min_sites: int) -> Path:
    """The app that counts, with terms."""
    app = make_app(folder)
    with (app / "steps" / "client_app.py").open("a") as file:
        file.write(_CLIENT)
    with (app / "pyproject.toml").open("a") as file:
        file.write(_TERMS.replace("MIN_SITES", str(min_sites)))
    return app


def steward(lab: Lab, node: str, said: str) -> None:
    """The steward of this node decides."""
    home = lab.root / f"{node}-flwr"
    home.mkdir(exist_ok=True)
    (home / ".steward").write_text(said)
    (home / ".steward").replace(home / "steward")


def forget(lab: Lab) -> None:
    """No steward has decided, and nobody was asked."""
    for name in ("steward", "asked"):
        for file in lab.root.glob(f"*-flwr/{name}"):
            file.unlink()


def times_asked(lab: Lab, node: str) -> int:
    """How often the node was asked."""
    file = lab.root / f"{node}-flwr" / "asked"
    return file.stat().st_size if file.exists() else 0
