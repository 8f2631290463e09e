"""`compare`: every number of a simulated run beside that of the pooled rows, and the largest difference.

Everything here happens outside the gate and needs the rows of all DIZ in one place. It is for simulations, where all
data are the user's own; the report says so.

Writes ``compare.json`` into the run's folder and adds a headline and a table to ``report.json``; a second call replaces
what the first one added.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Any

from flame_strategies.output import write_atomically, write_report_json

from federated_statistics.errors import InputError
from federated_statistics.oracles import ORACLES, elastic_net
from federated_statistics.prepare import read_prepared
from federated_statistics.report import read_result, text
from federated_statistics.results import Numbers
from federated_statistics.settings import Settings

OUTSIDE = "outside the gate, simulation only"

_ROUNDING = 1e-12
"""Of the largest number of its group: what is smaller than this is 0 but for rounding, on both sides."""


@dataclass(frozen=True)
class Difference:
    """One number twice.

    Attributes:
        group: Its group.
        label: Its label.
        federated: From the run; None where there is none.
        pooled: From the pooled rows.
        relative: |federated - pooled| / |pooled|; 0 where both are rounding or none.
        of_largest: The same over the largest pooled number of the group.
    """

    group: str
    label: str
    federated: float | None
    pooled: float | None
    relative: float
    of_largest: float


def compare(run: Path, data: Path, say: Callable[[str], None] = lambda text: None) -> list[Difference]:
    """Compare a run with the analysis of the pooled rows.

    Args:
        run: The run's folder.
        data: The folder that `prepare` wrote.
        say: Told of every number, for a person to read.

    Raises:
        InputError: One of the two is not what it should be, or a package to compare with is not installed.
    """
    try:
        found = read_result(run)
        settings = Settings.from_json(found["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{run} holds no result of this app; give the folder of a finished run.") from None
    rows, stamp = read_prepared(data)
    if stamp["source"].get("set", settings.set) != settings.set:
        raise InputError(f"The run is about {settings.set}, {data} holds {stamp['source']['set']}.")
    try:
        if settings.analysis == "elastic-net":
            pooled = elastic_net(rows, settings, float(found["numbers"]["penalty"]["lambda"]))
        else:
            pooled = ORACLES[settings.analysis](rows, settings)
    except ImportError as error:
        raise InputError(f"Comparing needs {error.name}; pip install 'federated-statistics[compare]'.") from None
    differences = list(_differences(found["numbers"], pooled))
    for d in differences:
        shown = ("–" if v is None else f"{v:.15g}" for v in (d.federated, d.pooled))
        say("  ".join([f"{d.group:<24} {d.label:<28}", *(f"{v:>23}" for v in shown), f"{d.relative:9.1e}"]))
    worst = max((d.relative for d in differences), default=0.0)
    of_largest = max((d.of_largest for d in differences), default=0.0)
    say(f"{len(differences)} numbers, {found['exchanges']} exchanges. Largest relative difference: {worst:.1e}")
    say(f"Largest difference as a share of the largest number of its group: {of_largest:.1e}")
    summary = {
        "what": OUTSIDE,
        "exchanges": found["exchanges"],
        "largest_relative_difference": worst,
        "largest_difference_of_group": of_largest,
        "differences": [asdict(d) for d in differences],
    }
    content = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(run / "compare.json", content.encode() + b"\n")
    _add(run, differences, worst)
    return differences


def _differences(federated: Mapping[str, Mapping[str, float | None]], pooled: Numbers) -> Iterator[Difference]:
    """Number by number, in the order of the pooled ones.

    Raises:
        InputError: The run lacks one.
    """
    for name, of in pooled.items():
        largest = max((abs(v) for v in of.values() if not isnan(v)), default=0.0)
        for label, value in of.items():
            if label not in federated.get(name, {}):
                raise InputError(f"The run has no {name} of {label}; it was another version of this app's.")
            own = federated[name][label]
            if own is None or isnan(value):
                same = own is None and isnan(value)
                yield Difference(
                    name, label, own, None if isnan(value) else value, *((0.0, 0.0) if same else (1.0, 1.0))
                )
                continue
            gap = abs(own - value)
            share = gap / largest if largest > 0 else float(gap > 0)
            small = max(abs(own), abs(value)) <= _ROUNDING * largest or gap == 0
            yield Difference(
                name, label, own, value, 0.0 if small else gap / max(abs(value), _ROUNDING * largest), share
            )


def _add(run: Path, differences: list[Difference], worst: float) -> None:
    """Put headline and table into ``report.json``, in place of earlier ones."""
    try:
        report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        report = {}
    except ValueError:
        raise InputError(f"{run / 'report.json'} is not valid JSON; repeat the run.") from None
    headline = {
        "label": "Largest difference to the pooled rows",
        "value": f"{worst:.1e}",
        "note": f"relative, over {len(differences)} numbers; {OUTSIDE}",
    }
    table = {
        "title": f"Federated and pooled ({OUTSIDE})",
        "caption": "The pooled numbers are those of numpy, pandas, scikit-learn, statsmodels or lifelines.",
        "columns": ["group", "label", "federated", "pooled", "relative difference"],
        "rows": [
            [d.group, d.label, *("–" if v is None else text(v) for v in (d.federated, d.pooled)), f"{d.relative:.1e}"]
            for d in differences[:500]
        ],
    }
    for key, name, new in (("headline", "label", headline), ("tables", "title", table)):
        report[key] = [entry for entry in report.get(key, []) if entry[name] != new[name]] + [new]
    write_report_json(run, report)
