"""Secure aggregation on the sheet: what the hub may read, who has to be honest, and what is left if nobody is."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from flame_fl.contract.refusal import RefusedError
from flame_fl.contract.secure_terms import threshold
from flame_fl.contract.terms import Terms
from flame_fl.gate.claims import event_of
from flame_fl.gate.masked import ranges_of
from flame_fl.node.accounts import AccountNow, more
from flame_fl.node.sheet_model import Alone, Caution, Claim, Figures, Masks, ProjectShown, Sheet
from flame_fl.node.sheet_parts import Section, titled
from flame_fl.node.sheet_words import Say
from flame_fl.privacy.accounting import Events, epsilon_of
from flame_fl.privacy.risk import risk_of

WEAK_ALONE = 0.5
"""So often an attacker is right against this site's share of the noise alone, for a caution."""


def masks_of(
    terms: Terms | None, project: ProjectShown | None, claim: Claim | None, accounts: Sequence[AccountNow]
) -> Masks | None:
    """What masks mean for an analysis at this node; None where the terms do not require them.

    The figures are of the largest set-up that the roster allows: the more sites, the smaller is each one's share.
    """
    if terms is None or not terms.secure_aggregation.required:
        return None
    stated, roster = terms.secure_aggregation, project.roster if project is not None else ()
    sites = max(terms.federation.min_sites, len(roster))
    supply = {name for names in stated.support.values() for name in names}
    shares = sites - stated.dropouts - stated.colluding if terms.privacy.trust == "distributed" else 1
    return Masks(
        sites=sites,
        threshold=threshold(sites, stated.colluding),
        fewest=terms.federation.min_sites - stated.dropouts,
        unknown=tuple(sorted(supply - set(roster))) if roster else (),
        problem=_problem(terms, sites),
        shares=shares,
        alone=_alone(terms, claim, accounts, shares),
    )


def _problem(terms: Terms, sites: int) -> str:
    """Why sums over so many sites do not fit."""
    if terms.privacy.ground == "enforced":
        return ""
    try:
        for rules in terms.messages.values():
            ranges_of(rules, terms, sites)
    except RefusedError as err:
        return err.detail
    return ""


def _alone(terms: Terms, claim: Claim | None, accounts: Sequence[AccountNow], shares: int) -> Alone | None:
    """The same releases, protected by this site's own share of the noise: its multiplier is smaller by the root."""
    event = event_of(terms.privacy)
    if terms.privacy.trust != "distributed" or event is None or claim is None:
        return None
    smaller = replace(event, multiplier=event.multiplier / math.sqrt(shares))
    theirs = [now for now in accounts if now.account.unit == terms.privacy.unit]
    worst: tuple[float, float, Events] | None = None
    for now in theirs:
        all_of_it = more(now.of_analysis, event, claim.admitted)
        count = all_of_it.get(event, 0)
        rest = {other: number for other, number in all_of_it.items() if other != event}
        events = more(rest, smaller, count)
        found = epsilon_of(events, now.lifetime.delta), now.lifetime.delta, events
        worst = found if worst is None or found[0] > worst[0] else worst
    if worst is None:
        return None
    risk = risk_of(worst[2])
    return Alone(epsilon=worst[0], delta=worst[1], risk=Figures(advantage=risk.advantage, tpr=risk.tpr))


def mask_cautions(sheet: Sheet, terms: Terms) -> Iterator[Caution]:
    """What would keep masked sums from being formed here, and whom the terms trust."""
    masks, project = sheet.masks, sheet.project
    if masks is None:
        return
    roster = project.roster if project is not None else ()
    if not roster:
        yield Caution(level="high", key="masks_no_roster")
    elif project is not None and not project.takes_part:
        yield Caution(level="high", key="masks_not_in_roster")
    if 0 < len(roster) < terms.federation.min_sites:
        values: dict[str, str | int | float] = {"have": len(roster), "least": terms.federation.min_sites}
        yield Caution(level="high", key="masks_few", values=values)
    if masks.unknown:
        yield Caution(level="high", key="masks_unknown", values={"names": ", ".join(masks.unknown)})
    if masks.problem:
        yield Caution(level="high", key="masks_range", values={"why": masks.problem})
    if terms.secure_aggregation.colluding == 0:
        yield Caution(level="medium" if terms.privacy.trust == "distributed" else "low", key="masks_trust")
    if masks.alone is not None and masks.alone.risk.tpr >= WEAK_ALONE:
        yield Caution(level="medium", key="masks_alone", values={"tpr": masks.alone.risk.tpr})


def masks(sheet: Sheet, say: Say) -> Section:
    """What the hub can read of what leaves masked, and on whom that rests."""
    terms, found = sheet.terms, sheet.masks
    assert terms is not None  # noqa: S101  (`sections` asks only where masks are required)
    assert found is not None  # noqa: S101
    stated, rows = terms.secure_aggregation, list[tuple[str, str]]()

    def row(label: str, key: str, **values: str | float) -> None:
        rows.append((say(f"masks.{label}"), say(f"masks.{key}", **values)))

    row("reads", "reads_text", fewest=found.fewest)
    names = ", ".join(sheet.project.roster) if sheet.project is not None and sheet.project.roster else say("nobody")
    row("who", "who_text", least=terms.federation.min_sites, names=names)
    row("lost", "lost_text" if stated.dropouts else "lost_none", lost=stated.dropouts)
    row("colluding", "colluding_text" if stated.colluding else "colluding_none", count=stated.colluding)
    row("unmask", "unmask_text", needed=found.threshold, sites=found.sites)
    if stated.weight is not None:
        row("weight", "weight_text", name=stated.weight)
    for array, sites in stated.support.items():
        row("support", "support_text", name=array, sites=", ".join(sites))
    if stated.min_total is not None:
        row("min_total", "min_total_text", least=stated.min_total, names=", ".join(stated.min_total_of))
    if terms.privacy.ground == "enforced":
        if terms.privacy.trust == "distributed":
            row("noise", "noise_shares", shares=found.shares, sites=found.sites, count=stated.colluding)
        else:
            row("noise", "noise_whole")
    if found.alone is not None:
        tpr = say.of_hundred(found.alone.risk.tpr)
        row("alone", "alone_text", epsilon=found.alone.epsilon, delta=found.alone.delta, tpr=tpr)
    return Section("masks", titled("masks", say), tuple(rows), notes=(say("masks.note"), say("masks.key_note")))
