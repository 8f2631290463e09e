"""The app that `flame app new` writes: a federated mean, small enough to read, with complete terms."""

import re
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from string import Template

from flame_fl.contract.errors import InputError

_FILES = {
    "pyproject.toml": """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "$name"
version = "0.1.0"
description = "TODO: one sentence"
license = "Apache-2.0"
dependencies = ["flwr>=1.41,<1.43", "numpy>=1.26", "flame-strategies"]

[tool.hatch.build.targets.wheel]
packages = ["$package"]

[tool.flwr.app]
publisher = "your-institute"

[tool.flwr.app.components]
serverapp = "$package.server_app:app"
clientapp = "$package.client_app:app"

[tool.flwr.app.config]
rounds = 3

# What every DIZ is asked to approve. What is not listed here is refused.
[tool.flame]
schema = 1

[tool.flame.project]
id = "$name"
title = "TODO: title"
purpose = "TODO: what is asked, and why"
legal_basis = "TODO: consent, or the paragraph"
ethics_reference = "TODO: vote and number"
responsible_person = "TODO: name, institution"

[tool.flame.messages.train]
per_run = 20
update = "delta"
arrays = [{ record = "arrays", name = "mean", dtype = "float64", shape = [4], max_abs = 100.0 }]
metrics = [{ record = "metrics", name = "num-examples", kind = "count", max = 100000 }]

# How answers are masked where that is required (--secure-aggregation, or required = true): the hub reads sums alone.
[tool.flame.secure_aggregation]
required = false
weight = "num-examples"

[tool.flame.run_config]
rounds = { min = 1, max = 20 }

[tool.flame.privacy]
unit = "none"
ground = "none"
mechanism = "none"

[tool.flame.limits]
runs = 20

[tool.flame.resources]
seconds = 60

[tool.flame.validity]
from = $today
until = $until
""",
    "$package/__init__.py": '"""TODO: one sentence about the analysis."""\n',
    "$package/client_app.py": '''"""Runs inside each DIZ's sandbox. Only what [tool.flame.messages] lists may leave."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Move the mean half of the way towards this DIZ's own (synthetic) values."""
    mean = message.content["arrays"]["mean"].numpy()
    rng = np.random.default_rng(int(context.node_config.get("partition-id", 0)))
    values = rng.normal(loc=[1.0, 2.0, 3.0, 4.0], size=(50, 4))
    moved = mean + (values.mean(axis=0) - mean) / 2
    content = RecordDict(
        {
            "arrays": ArrayRecord({"mean": Array(moved)}),
            "metrics": MetricRecord({"num-examples": len(values)}),
        }
    )
    return Message(content, reply_to=message)
''',
    "$package/server_app.py": '''"""Runs at the hub: asks the DIZ, averages what they release."""

import numpy as np
from flame_strategies import secure
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Federated averaging of one vector; of sums alone, where the terms want answers masked."""
    strategy = FedAvg(fraction_evaluate=0.0)
    start = ArrayRecord({"mean": Array(np.zeros(4))})
    result = strategy.start(secure(grid), start, num_rounds=int(context.run_config["rounds"]))
    print("mean:", result.arrays["mean"].numpy())
''',
    "README.md": "# $name\n\nTODO: question, data, what leaves, privacy unit and ground.\n",
}


def write_scaffold(folder: Path) -> None:
    """Write the example app into a new folder.

    Raises:
        InputError: The name cannot be an app's, or the folder is not empty.
    """
    name = folder.resolve().name
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 32:
        raise InputError(
            f"{name!r} cannot be an app's name.",
            mend="Use up to 32 lower-case letters, digits and hyphens, such as blood-age.",
        )
    package = name.replace("-", "_")
    if package in sys.stdlib_module_names or find_spec(package) is not None:
        raise InputError(
            f"{package!r} is the name of an installed package, which an app of that name would hide.",
            mend="Choose another name, such as blood-age.",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty.", mend="Choose another folder.")
    today = datetime.now(UTC).date()  # a gate's days are UTC's
    values = {
        "name": name,
        "package": package,
        "today": today.isoformat(),
        "until": today.replace(year=today.year + 2, day=min(today.day, 28)).isoformat(),
    }
    for path, text in _FILES.items():
        file = folder / Template(path).substitute(values)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(Template(text).substitute(values))
