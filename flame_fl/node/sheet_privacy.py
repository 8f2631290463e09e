"""Privacy terms as risk, the budgets, and what a sandbox may use: three sections of the sheet."""

from collections.abc import Iterator

from flame_fl.contract.terms import Privacy, Resources
from flame_fl.gate.claims import Account
from flame_fl.node.sheet_model import Budget, Claim, Sheet
from flame_fl.node.sheet_parts import Section, Table, titled
from flame_fl.node.sheet_words import Say

_BYTES = frozenset({"memory_bytes", "scratch_bytes"})


def privacy(sheet: Sheet, say: Say) -> Section:
    """What is claimed, on which ground, for whom, and what an attacker gains."""
    title = titled("privacy", say)
    if sheet.terms is None:
        return Section("privacy", title, notes=(say("privacy.none_note"),))
    terms = sheet.terms.privacy
    in_blocks = terms.ground == "enforced" and terms.unit == "patient"
    believed = terms.ground == "reviewed" and terms.claims
    done = say(
        "privacy.mechanism.blocks" if in_blocks else f"privacy.mechanism.{terms.mechanism}",
        clip=terms.clip_norm or 0.0,
        noise=terms.noise_multiplier or 0.0,
    )
    rows = (
        (say("privacy.unit"), say(f"privacy.unit.{terms.unit}")),
        (say("privacy.ground"), say("privacy.ground.reviewed_noise" if believed else f"privacy.ground.{terms.ground}")),
        (say("privacy.mechanism"), done),
        *_how(terms, say),
    )
    if sheet.claim is None:
        return Section("privacy", title, rows, notes=(say("privacy.none_note"),))
    notes = [say(f"privacy.{terms.unit}_note"), say("privacy.attempt_note")]
    if believed:
        notes.insert(0, say("privacy.reviewed_note"))
    elif sheet.stores:
        notes.append(say("privacy.count_note"))
    return Section("privacy", title, (*rows, *_figures(sheet.claim, terms, say)), notes=tuple(notes))


def _how(terms: Privacy, say: Say) -> Iterator[tuple[str, str]]:
    """What a mechanism has beside clipping and noise."""
    if terms.blocks is not None and terms.slot_seconds is not None:
        total = terms.blocks * terms.slot_seconds
        text = say("privacy.blocks_text", blocks=terms.blocks, seconds=terms.slot_seconds, total=total)
        yield say("privacy.blocks"), text
    if terms.steps is not None and terms.sample_rate is not None:
        text = say("privacy.sampling_text", steps=terms.steps, rate=100 * terms.sample_rate)
        yield say("privacy.sampling"), text
    if terms.trust == "distributed":
        yield say("privacy.trust"), say("privacy.trust_text")
    if terms.adaptive_clip:
        yield say("privacy.adaptive"), say("privacy.adaptive_text")


def _figures(claim: Claim, terms: Privacy, say: Say) -> tuple[tuple[str, str], ...]:
    share, bound = say.of_hundred, claim.bound
    right = share((1 + claim.risk.advantage) / 2)
    epsilon = say("privacy.epsilon_text", most=terms.epsilon_max or 0.0, delta=terms.delta or 0.0, used=claim.epsilon)
    messages = say("privacy.messages_text", had=claim.had, left=claim.left, admitted=claim.admitted)
    advantage = say("privacy.advantage_text", advantage=share(claim.risk.advantage), right=right)
    weaker = say("privacy.bound_text", tpr=share(bound.tpr), advantage=share(bound.advantage))
    return (
        (say("privacy.messages"), messages),
        (say("privacy.attacker"), say(f"privacy.attacker_text.{terms.unit}", tpr=share(claim.risk.tpr))),
        (say("privacy.advantage"), advantage),
        (say("privacy.epsilon"), epsilon),
        (say("privacy.bound"), weaker),
    )


def budget(sheet: Sheet, say: Say) -> Section:
    """Each account before and after, and which budget ends it."""
    claim, title = sheet.claim, titled("budget", say)
    header = [say("budget.account"), say("budget.cap"), say("budget.before")]
    if claim is None:
        table = Table(tuple(header), tuple(_account(account, say) for account in sheet.budget))
        return Section("budget", title, table=table, notes=(say("budget.unclaimed"), say("budget.note")))
    cells = [
        (*_account(account, say), _figure(account.after, account.used_after, account.risk_after.tpr, say))
        for account in sheet.budget
    ]
    ends = say("budget.fits")
    if claim.refused_by:
        where = next((_name(a, say) for a in sheet.budget if str(Account(a.unit, a.namespace)) == claim.refused_in), "")
        ends = say(f"budget.refused_text.{claim.refused_by}", admitted=claim.admitted, account=where)
    return Section(
        "budget",
        title,
        ((say("budget.refused"), ends),),
        table=Table((*header, say("budget.after")), tuple(cells)),
        notes=(say("budget.note"),),
    )


def _account(account: Budget, say: Say) -> tuple[str, str, str]:
    limit = say("budget.cap_text", cap=account.cap, delta=account.delta)
    if account.project_cap is not None:
        limit = say("budget.project_cap_text", cap=account.cap, delta=account.delta, project=account.project_cap)
    return _name(account, say), limit, _figure(account.spent, account.used, account.risk_spent.tpr, say)


def _name(account: Budget, say: Say) -> str:
    key = f"budget.account.{account.unit}"
    return say(key) if account.unit == "site" else say(key, namespace=account.namespace)


def _figure(epsilon: float, used: float, tpr: float, say: Say) -> str:
    return say("budget.figure", used=say.of_hundred(used), epsilon=epsilon, tpr=say.of_hundred(tpr))


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
