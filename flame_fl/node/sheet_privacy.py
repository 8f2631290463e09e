"""Privacy terms as risk, the site's budget, and what a sandbox may use: three sections of the sheet."""

from flame_fl.contract.terms import Privacy, Resources
from flame_fl.node.sheet_model import Claim, Sheet
from flame_fl.node.sheet_parts import Section, Table, titled
from flame_fl.node.sheet_words import Say

_BYTES = frozenset({"memory_bytes", "scratch_bytes"})


def privacy(sheet: Sheet, say: Say) -> Section:
    """What is claimed, on which ground, for whom, and what an attacker gains."""
    title = titled("privacy", say)
    if sheet.terms is None:
        return Section("privacy", title, notes=(say("privacy.none_note"),))
    terms = sheet.terms.privacy
    done = say(
        f"privacy.mechanism.{terms.mechanism}",
        clip=terms.clip_norm or 0.0,
        noise=terms.noise_multiplier or 0.0,
    )
    rows = (
        (say("privacy.unit"), say(f"privacy.unit.{terms.unit}")),
        (say("privacy.ground"), say(f"privacy.ground.{terms.ground}")),
        (say("privacy.mechanism"), done),
    )
    if sheet.claim is None:
        return Section("privacy", title, rows, notes=(say("privacy.none_note"),))
    notes = (say("privacy.site_note"), say("privacy.attempt_note"))
    return Section("privacy", title, (*rows, *_figures(sheet.claim, terms, say)), notes=notes)


def _figures(claim: Claim, terms: Privacy, say: Say) -> tuple[tuple[str, str], ...]:
    share, bound = say.of_hundred, claim.bound
    right = share((1 + claim.risk.advantage) / 2)
    epsilon = say("privacy.epsilon_text", most=terms.epsilon_max or 0.0, delta=terms.delta or 0.0, used=claim.epsilon)
    messages = say("privacy.messages_text", had=claim.had, left=claim.left, admitted=claim.admitted)
    advantage = say("privacy.advantage_text", advantage=share(claim.risk.advantage), right=right)
    weaker = say("privacy.bound_text", tpr=share(bound.tpr), advantage=share(bound.advantage))
    return (
        (say("privacy.messages"), messages),
        (say("privacy.attacker"), say("privacy.attacker_text", tpr=share(claim.risk.tpr))),
        (say("privacy.advantage"), advantage),
        (say("privacy.epsilon"), epsilon),
        (say("privacy.bound"), weaker),
    )


def budget(sheet: Sheet, say: Say) -> Section:
    """The site's account before and after."""
    account, claim = sheet.budget, sheet.claim

    def figure(epsilon: float, tpr: float) -> str:
        return say("budget.figure", epsilon=epsilon, tpr=say.of_hundred(tpr))

    rows = [
        (say("budget.cap"), say("budget.cap_text", cap=account.cap, delta=account.delta)),
        (say("budget.before"), figure(account.spent, account.risk_spent.tpr)),
    ]
    if claim is None:
        return Section("budget", titled("budget", say), tuple(rows), notes=(say("budget.unclaimed"),))
    rows.append((say("budget.after"), figure(account.after, account.risk_after.tpr)))
    ends = say("budget.refused_text", admitted=claim.admitted) if claim.refused_by else say("budget.fits")
    rows.append((say("budget.refused"), ends))
    return Section("budget", titled("budget", say), tuple(rows))


def resources(sheet: Sheet, say: Say) -> Section:
    """What a sandbox may use, beside what the node gives at most."""
    rows = ((say("resources.sandbox"), say.value(sheet.sandbox)),)
    if sheet.terms is None:
        return Section("resources", titled("resources", say), rows, notes=(say("resources.note"),))
    header = tuple(say(f"resources.{name}") for name in ("what", "asked", "most"))
    cells = tuple(
        (
            say(f"resources.{name}"),
            _amount(name, sheet.terms.resources, say),
            say("resources.unbounded") if sheet.most is None else _amount(name, sheet.most, say),
        )
        for name in Resources.model_fields
    )
    return Section(
        "resources", titled("resources", say), rows, table=Table(header, cells), notes=(say("resources.note"),)
    )


def _amount(name: str, of: Resources, say: Say) -> str:
    value: int | float = getattr(of, name)
    return say.size(int(value)) if name in _BYTES else say.value(value)
