"""What happened, in sentences: the first lines of the page, its marks, and what each privacy ground means.

Invariants: pure; a sentence claims no more than the facts do; node names stand in it as they came and are
escaped by the page. Written for a reader who decides about data, not about code.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from flame_fl.report.app_report import AppReport
from flame_fl.report.facts import Ground, NodeFacts, RunFacts, Unit
from flame_fl.report.words import counted, duration, listed, shortened

_GROUNDS: Final[Mapping[Ground, str]] = {
    "enforced": (
        "The DIZ’s own gate limited how much the result may depend on the protected data and added noise, outside "
        "the app. The bound holds whatever the app’s code does."
    ),
    "vetted": (
        "The privacy arithmetic was done by flame_fl’s own code inside the sandbox, with nothing of the app beside it. "
        "The ledger was charged what the approved terms allow."
    ),
    "reviewed": (
        "A person at the DIZ read what the app computes and agreed to it. No bound is calculated; only the "
        "arrays and numbers that the approval lists could leave."
    ),
    "none": (
        "Nobody claims a bound. What left is as exact as the app computed it; only the arrays and numbers that the "
        "approval lists could leave."
    ),
}

_UNITS: Final[Mapping[Unit, str]] = {
    "patient": "One patient: the bound limits what can be learnt about any single patient of the DIZ.",
    "site": "One site: the bound limits what can be learnt about the DIZ’s data as a whole.",
    "none": "No unit of protection is stated.",
}

_ENFORCED_WITHOUT_NOISE: Final = (
    "The DIZ’s own gate checked each release against the approved terms, outside the app, but its noise was off or "
    "predictable in this run, so no bound follows."
)

_ENDINGS: Final = {"finished": "finished", "failed": "failed", "interrupted": "was interrupted"}


@dataclass(frozen=True)
class Badge:
    """A mark that must not be overlooked, with the sentence that explains it."""

    text: str
    tone: Literal["plain", "alarm"]
    meaning: str


def seconds_of(facts: RunFacts) -> float | None:
    """Wall time of the run, or ``None`` if nothing recorded its end."""
    return None if facts.ended is None else max(0.0, (facts.ended - facts.started).total_seconds())


def rounds_of(facts: RunFacts) -> int:
    """Rounds, not legs: a round that trains and evaluates counts once."""
    return len({leg.index for leg in facts.rounds})


def noise_is_on(facts: RunFacts) -> bool:
    """Whether the terms let the gate add noise."""
    return facts.terms.mechanism != "none" and bool(facts.terms.noise_multiplier)


def claims_bound(facts: RunFacts, node: NodeFacts) -> bool:
    """Whether an ε of this node is a claim: finite, on a ground that carries one, with unpredictable noise."""
    carried = node.ground == "vetted" or (node.ground == "enforced" and noise_is_on(facts))
    finite = node.epsilon_spent is not None and math.isfinite(node.epsilon_spent)
    return carried and finite and not facts.noise_seeded


def what_happened(facts: RunFacts) -> str:
    """The run in two sentences: how it ended, then who approved and who refused with which code."""
    took = seconds_of(facts)
    rounds = rounds_of(facts)
    ending = f"The run {_ENDINGS[facts.status]} "
    ending += f"after {counted(rounds, 'round')}" if rounds else "before its first round"
    ending += "." if took is None else f" in {duration(took)}."
    if not facts.nodes:
        return f"{ending} No DIZ took part."
    approved = sum(node.status == "approved" for node in facts.nodes)
    clauses = [f"{approved} of {len(facts.nodes)} DIZ approved"]
    if refusing := [_refusal(node) for node in facts.nodes if node.refusals]:
        clauses.append(listed(refusing))
    if silent := [shortened(n.name, 40) for n in facts.nodes if n.status != "approved" and not n.refusals]:
        clauses.append(f"{listed(silent)} did not approve")
    return f"{ending} {'; '.join(clauses)}."


def _refusal(node: NodeFacts) -> str:
    """``DIZ-3 refused (901)``; a node that approved refused only some messages, and the number says so."""
    codes = ", ".join(str(code) for code in sorted({refusal.code for refusal in node.refusals}))
    some = ""
    if node.status == "approved":
        some = f" {counted(sum(refusal.count for refusal in node.refusals), 'message')}"
    return f"{shortened(node.name, 40)} refused{some} ({codes})"


def claim(facts: RunFacts, node: NodeFacts) -> str:
    """What is claimed of this node's releases, in three or four words."""
    if not node.messages:
        return "no update left"
    return "bound claimed" if claims_bound(facts, node) else "no bound is claimed"


def meanings(facts: RunFacts) -> tuple[tuple[str, str], ...]:
    """What each ground and unit on the page means; only of nodes whose updates left, and no unit without a bound."""
    released = [node for node in facts.nodes if node.messages]
    bound = [node for node in released if claims_bound(facts, node)]
    words: list[tuple[str, str]] = []
    for ground, text in _GROUNDS.items():
        if any(node.ground == ground for node in released):
            hollow = ground == "enforced" and not any(node.ground == ground for node in bound)
            words.append((f"Ground: {ground}", _ENFORCED_WITHOUT_NOISE if hollow else text))
    words += [(f"Unit: {unit}", text) for unit, text in _UNITS.items() if any(node.unit == unit for node in bound)]
    return tuple(words)


def badges(facts: RunFacts, app: AppReport | None) -> tuple[Badge, ...]:
    """What a reader must know before believing a number on the page, the gravest first."""
    marks: list[Badge] = []
    if facts.status != "finished":
        marks.append(Badge(facts.status.upper(), "alarm", "The run did not reach its end; what it shows is partial."))
    if facts.noise_seeded:
        meaning = "The noise came from a known seed, for a test. It protects nobody, and no bound is claimed."
        marks.append(Badge("SEEDED NOISE", "alarm", meaning))
    elif not noise_is_on(facts) and not any(claims_bound(facts, node) for node in facts.nodes):
        marks.append(Badge("NOISE OFF", "plain", "The gates added no noise; exact values of the approved kind left."))
    if facts.simulated:
        meaning = "All DIZ were virtual and ran on one machine; their stewards’ decisions came from a policy."
        marks.append(Badge("SIMULATION", "plain", meaning))
    if app is not None and (app.synthetic or (app.synthetic is None and "synthetic" in app.data_note.lower())):
        marks.append(Badge("SYNTHETIC DATA", "plain", "The app says that its data are synthetic."))
    if any(node.approved_by.startswith("DEMO") for node in facts.nodes):
        meaning = "A rule stood in for the stewards of the DIZ: no person approved this."
        marks.append(Badge("DEMO", "alarm", meaning))
    if facts.simulated and any(not node.audit_verified for node in facts.nodes):
        meaning = "At least one DIZ’s audit chain was not verified; see Audit."
        marks.append(Badge("AUDIT NOT VERIFIED", "alarm", meaning))
    return tuple(marks)
