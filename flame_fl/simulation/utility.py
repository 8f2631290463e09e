"""Utility over epsilon and blocks: the same app, simulated once for each combination, one number read from each run.

What comes of it depends on the data it is simulated on; a curve on made-up data says little about real ones.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flame_fl.contract.errors import FlameError, InputError
from flame_fl.simulation.derive import PrivacyWish
from flame_fl.simulation.settings import Outcome, Settings


@dataclass(frozen=True)
class Point:
    """One simulation. `value` is None if it failed, then `failed` says why."""

    privacy: str
    epsilon: float | None
    blocks: int | None
    value: float | None
    folder: str
    failed: str = ""


def plan(epsilons: Sequence[float], blocks: Sequence[int], *, site: bool) -> list[PrivacyWish]:
    """What is simulated: without noise, then each epsilon with each number of blocks, and of unit site if wished."""
    wishes = [PrivacyWish("none")]
    wishes += [PrivacyWish("patient", epsilon, blocks=k) for k in blocks for epsilon in epsilons]
    if site:
        wishes += [PrivacyWish("site", epsilon) for epsilon in epsilons]
    return wishes


def sweep(
    settings: Settings,
    wishes: Sequence[PrivacyWish],
    metric: str,
    run: Callable[[Settings], Outcome],
    on_point: Callable[[Point], None] = lambda point: None,
) -> list[Point]:
    """Simulate every wish; a run that fails, or has no such number, is a point without a value.

    Args:
        settings: Of the simulations; `out` is the folder that gets a run folder for each.
        wishes: From `plan`. Their clip norm and messages are those of `settings.wish`.
        metric: A number's path in a run's files, see `read_metric`.
        run: Simulates, or raises.
        on_point: Told of each.

    Raises:
        InputError: The first run ended well and has no such number: no other would.
    """
    base = settings.out or Path("flame-runs") / "utility"
    points: list[Point] = []
    for wish in wishes:
        stated = replace(wish, messages=settings.wish.messages)
        if wish.privacy != "none":
            stated = replace(stated, clip_norm=settings.wish.clip_norm)
        name = "-".join(
            str(part).replace(".", "_") for part in (wish.privacy, wish.epsilon, wish.blocks) if part is not None
        )
        value: float | None = None
        failed = ""
        folder = base / name
        try:
            folder = run(replace(settings, wish=stated, out=folder)).folder
        except FlameError as err:
            failed = err.message
        else:
            try:
                value = read_metric(folder, metric)
            except InputError as err:
                if not points:
                    raise
                failed = err.message
        point = Point(str(wish.privacy), wish.epsilon, wish.blocks, value, str(folder), failed)
        points.append(point)
        on_point(point)
    return points


def read_metric(folder: Path, metric: str) -> float:
    """A number from a run: FILE:KEY[.KEY…], such as "report.json:headline.0.value" or "metrics.json:mae".

    Without FILE it is the last round's metric of that name in result.json.

    Raises:
        InputError: There is none, or it is no number.
    """
    name, _, path = metric.rpartition(":")
    value: Any
    try:
        if name:
            value = json.loads((folder / name).read_text())
            for key in path.split("."):
                value = value[int(key)] if isinstance(value, list) else value[key]
        else:
            rounds = json.loads((folder / "result.json").read_text())["run"]["rounds"]
            value = next(r["metrics"][path] for r in reversed(rounds) if path in r["metrics"])
        number = float(str(value).split()[0])
    except (OSError, ValueError, KeyError, IndexError, TypeError, StopIteration):
        raise InputError(
            f"The run in {folder} has no number {metric!r}.",
            mend='Name a metric of its rounds, or FILE:KEY, for example "report.json:headline.0.value".',
        ) from None
    if not math.isfinite(number):
        raise InputError(f"{metric!r} of the run in {folder} is not finite.")
    return number
