"""What masks leave of an app's answers, as `flame app check` shows it: who must answer, and how fine the sums are."""

import math
from typing import Any

from rich.table import Table

from flame_fl.cli.console import escaped, stdout
from flame_fl.contract.refusal import RefusedError
from flame_fl.contract.secure_terms import threshold
from flame_fl.contract.terms import MessageTerms, Terms

COARSE = 1e-4
"""A weighted mean is coarse if it may be off by more than this share of what its numbers may be at most, where every
site weighs as little as it may: as many examples as patients that each data store must have, or one."""


def masks(terms: Terms) -> dict[str, Any] | None:
    """What masks mean for an analysis in a set-up of min_sites, JSON-able; None where they are not required.

    For each message type: `bits`, and for each array and metric `how` it is added up, the scale `s`, how far a number
    of the `sum` may be off (n / 2s, 0 for whole numbers), and a `mean` of the least weight, or of all sites alike.
    Under an enforced claim there is no rounding beside the clip's, and `s` is that of the clipped integers.
    """
    stated, sites = terms.secure_aggregation, terms.federation.min_sites
    if not stated.required:
        return None
    found: dict[str, Any] = {
        "sites": sites,
        "threshold": threshold(sites, stated.colluding),
        "dropouts": stated.dropouts,
        "colluding": stated.colluding,
        "fewest": sites - stated.dropouts,
        "messages": {},
    }
    for kind, rules in terms.messages.items():
        enforced = terms.privacy.ground == "enforced"
        found["messages"][kind] = _noised(terms, sites) if enforced else _ranged(rules, terms, sites)
    if terms.privacy.trust == "distributed":
        found["noise_share"] = _share(terms, sites - stated.dropouts - stated.colluding)
    return found


def _ranged(rules: MessageTerms, terms: Terms, sites: int) -> dict[str, Any]:
    from flame_fl.gate.masked import bound_of, ranges_of

    try:
        ranges = ranges_of(rules, terms, sites)
    except RefusedError as err:
        return {"problem": err.detail}
    types = {(rule.record, rule.name): rule.dtype for rule in rules.arrays}
    counts = {(metric.record, metric.name) for metric in rules.metrics if metric.kind == "count"}
    heaviest = 1.0 if ranges.weight is None else float(ranges.weight.max or 1.0)
    least = float(min((store.min_patients for store in terms.data.values()), default=1))
    least = min(least, heaviest)
    bounds = {(rule.record, rule.name): bound_of(rule, terms.privacy) for rule in rules.leaving.arrays}
    bounds |= {(m.record, m.name): max(abs(m.min or 0.0), abs(m.max or 0.0)) for m in rules.metrics}
    parts: dict[str, Any] = {}
    for (record, name), (how, scale) in ranges.parts.items():
        whole = scale == 1 and ("int" in types.get((record, name), "") or (record, name) in counts)
        error = 0.0 if whole else sites / (2 * scale)
        part: dict[str, Any] = {"how": how, "scale": scale, "sum": error}
        if how != "sum":
            part["mean"] = error / (sites * (least if how == "weighted" else 1.0))
        if how == "weighted":
            part["coarse"] = part["mean"] > COARSE * bounds[record, name]
        parts[f"{record}/{name}"] = part
    return {"bits": ranges.bits, "parts": parts}


def _noised(terms: Terms, sites: int) -> dict[str, Any]:
    from flame_fl.gate.masked import noised_bits
    from flame_fl.gate.noised import sigma_of
    from flame_fl.privacy.clipping import CLIP_INT

    privacy, secure = terms.privacy, terms.secure_aggregation
    sigma, honest = sigma_of(privacy), 1
    if privacy.trust == "distributed":
        honest = sites - secure.dropouts - secure.colluding
    one = math.sqrt(sigma[0] / sigma[1] / honest)
    blocks, clip_norm = privacy.blocks or 1, privacy.clip_norm or 1.0
    return {"bits": noised_bits(sites, blocks, one), "scale": CLIP_INT * blocks / clip_norm}


def _share(terms: Terms, honest: int) -> dict[str, Any]:
    from flame_fl.gate.noised import sigma_of
    from flame_fl.privacy.distributed import share_of

    privacy = terms.privacy
    sigma, multiplier = sigma_of(privacy), (privacy.noise_multiplier or 0.0) / math.sqrt(honest)
    said: dict[str, Any] = {
        "shares": honest,
        "sigma": multiplier * (privacy.clip_norm or 0.0),
        "noise_multiplier": multiplier,
        "sigma_as_integer": math.sqrt(sigma[0] / sigma[1] / honest),
    }
    try:
        share_of(sigma, honest)
    except ValueError as err:
        said["problem"] = str(err)
    return said


def print_masks(terms: Terms) -> None:
    """The same in words and a table."""
    found = masks(terms)
    if found is None:
        return
    about = Table(title="What leaves is masked", show_header=False, title_justify="left")
    about.add_column(style="bold")
    about.add_column(overflow="fold")
    about.add_row("the hub reads", f"sums over at least {found['fewest']} DIZ")
    about.add_row("sites in a set-up (n)", f"{found['sites']} (min_sites)")
    about.add_row("must answer (T)", str(found["threshold"]))
    about.add_row("may be lost (d)", str(found["dropouts"]))
    about.add_row("may collude with the hub (c)", str(found["colluding"]))
    if share := found.get("noise_share"):
        text = (
            f"1 of {share['shares']} shares: standard deviation {share['sigma']:.4g} ({share['sigma_as_integer']:.4g}"
        )
        about.add_row("noise of each DIZ", f"{text} as an integer)")
    stated = terms.secure_aggregation
    if stated.min_total is not None:
        about.add_row("smallest total that leaves", f"{stated.min_total}, of {', '.join(stated.min_total_of)}")
    stdout.print(about)
    _print_scales(found)
    for problem in _problems(found):
        stdout.print(f"[red]{escaped(problem)}[/]", highlight=False)


def _print_scales(found: dict[str, Any]) -> None:
    table = Table(title="How fine the sums are", title_justify="left")
    for column in ("message", "bits", "item", "added up as", "scale s", "sum off by", "mean off by"):
        table.add_column(column, overflow="fold")
    for kind, message in found["messages"].items():
        bits = str(message.get("bits", ""))
        if "scale" in message:
            table.add_row(escaped(kind), bits, "(all)", "mean", _power(message["scale"]), "0", "0")
        for name, part in message.get("parts", {}).items():
            mean = f"{part['mean']:.2g}" if "mean" in part else ""
            how = {"sum": "sum", "mean": "mean", "weighted": "weighted mean"}[part["how"]]
            table.add_row(
                escaped(kind), bits, escaped(name), how, _power(part["scale"]), f"{part['sum']:.2g}",
                f"[red]{mean}, coarse[/]" if part.get("coarse") else mean,
            )  # fmt: skip
    stdout.print(table)


def _power(scale: float) -> str:
    power = math.log2(scale)
    return f"2^{power:.0f}" if power == round(power) else f"{scale:.4g}"


def _problems(found: dict[str, Any]) -> list[str]:
    said = [f"{kind}: {message['problem']}" for kind, message in found["messages"].items() if "problem" in message]
    if problem := found.get("noise_share", {}).get("problem"):
        said.append(f"The gates would refuse: {problem}. Fewer shares or a larger noise_multiplier help.")
    parts = [part for message in found["messages"].values() for part in message.get("parts", {}).values()]
    if any(part.get("coarse") for part in parts):
        said.append(
            f"Coarse: where every site weighs as little as it may, the mean is off by more than {COARSE:g} of the"
            " bound. A smaller max of the weight or a smaller max_abs helps, or arrays of float64."
        )
    return said
