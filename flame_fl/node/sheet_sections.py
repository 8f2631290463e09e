"""The sheet in words: sections of rows, tables, notes and warnings, as a page or a terminal shows them.

Plain text only, in which every character is visible: control, bidirectional and invisible ones are escaped. Markup of
a page or a terminal is for those to escape.
"""

from collections.abc import Callable

from flame_fl.contract.data_terms import Condition, DataStore
from flame_fl.contract.terms import Terms
from flame_fl.node.scan_words import Language
from flame_fl.node.sheet_code import changes, decisions, dry_run, findings, program
from flame_fl.node.sheet_masks import masks
from flame_fl.node.sheet_model import Caution, Sheet
from flame_fl.node.sheet_parts import Section, Table, Warned, titled
from flame_fl.node.sheet_privacy import budget, privacy, resources
from flame_fl.node.sheet_release import release_table
from flame_fl.node.sheet_words import Say
from flame_fl.node.shown import shown

MAX_LISTED = 40
_MISSING = {"present": ("is there", "vorhanden"), "missing": ("is missing", "fehlt")}


def sections(sheet: Sheet, language: Language) -> tuple[Section, ...]:
    """The page, from what matters most to what is only looked up."""
    say = Say(language)
    made: tuple[Callable[[Sheet, Say], Section], ...] = (
        cautions, request, data, release, masks, privacy, budget, resources, dry_run, findings, changes, program,
        decisions,
    )  # fmt: skip
    return tuple(make(sheet, say) for make in made if make is not masks or sheet.masks is not None)


def cautions(sheet: Sheet, say: Say) -> Section:
    """What was noticed, the gravest first."""
    found = tuple(Warned(caution.level, caution_text(caution, say)) for caution in sheet.cautions)
    notes = () if found else (say("caution.none"),)
    return Section("cautions", titled("cautions", say), notes=notes, warnings=found)


def caution_text(caution: Caution, say: Say) -> str:
    """A caution in words."""
    values = dict(caution.values)
    if caution.key in {"weak_claim", "masks_alone"}:
        values["tpr"] = say.of_hundred(float(values["tpr"]))
    if caution.key == "resources":
        values["what"] = ", ".join(say(f"resources.{name}") for name in str(values["what"]).split(", "))
    return say(f"caution.{caution.key}", **values)


def request(sheet: Sheet, say: Say) -> Section:
    """Who asks, for what, on what ground."""
    rows: list[tuple[str, str]] = []
    terms = sheet.terms

    def row(label: str, text: str) -> None:
        rows.append((say(f"request.{label}"), text))

    if terms is not None:
        project = terms.project
        row("project", say.value(f"{project.id}: {project.title}"))
        row("purpose", say.value(project.purpose))
        row("legal_basis", say.value(project.legal_basis))
        row("ethics", say.value(project.ethics_reference))
        row("responsible", say.value(project.responsible_person))
    row("submitter", say("request.submitter_text", who=sheet.submitter) if sheet.submitter else say("unknown"))
    row("app", say.value(sheet.app))
    row("digest", sheet.digest)
    row("filed", say.value(sheet.filed[:16].replace("T", " ") or say("unknown")))
    row("status", say(f"status.{sheet.status}"))
    who = ", ".join(sheet.signed_by) or say("nobody")
    row("signed", say("request.signed_text", have=len(sheet.signed_by), needed=sheet.needed, who=who))
    if sheet.project is not None:
        row("project_status", say(f"status.{sheet.project.status}"))
        row("roster", say.value(", ".join(sheet.project.roster) or say("request.roster_none")))
    if terms is not None:
        first, last = terms.validity.from_.isoformat(), terms.validity.until.isoformat()
        row("valid", say("request.valid_text", first=first, last=last))
        sites = terms.federation.min_sites
        row("runs", say("request.runs_text", had=sheet.runs, most=terms.limits.runs, sites=sites))
        row("settings", _settings(terms, say))
        row("settings_now", say.value("; ".join(f"{n} = {v}" for n, v in sheet.run_config if v) or say("none")))
    return Section("request", titled("request", say), tuple(rows), notes=(say("request.note"),))


def _settings(terms: Terms, say: Say) -> str:
    parts = []
    for name, rule in terms.run_config.items():
        span = f"{rule.min:g} – {rule.max:g}" if rule.min is not None and rule.max is not None else ""
        parts.append(f"{name} ({span or ', '.join(map(str, rule.one_of or ()))})")
    return say.value("; ".join(parts)) if parts else say("none")


def data(sheet: Sheet, say: Say) -> Section:
    """Which data, whose, and how many patients there are today."""
    title = titled("data", say)
    if sheet.terms is None or not sheet.terms.data:
        return Section("data", title, notes=(say("data.no_store"),))
    header = tuple(say(f"data.{name}") for name in ("store", "sees", "whose", "patients"))
    rows = []
    for store in sheet.stores:
        stated = sheet.terms.data[store.name]
        asked = "; ".join(_condition(condition, say) for condition in stated.where)
        whose = [say("data.asked", what=asked)] if asked else []
        whose += [say("data.own", what="; ".join(store.conditions))] if store.conditions else []
        whose = whose or [say("data.all")]
        if store.offered:
            whose.append(say("data.consent") if store.consent else say("data.no_consent"))
        ids = [say("data.pseudonyms") if store.pseudonyms else say("data.plain_ids")] if store.offered else []
        ids += [say("data.shifted", days=store.shift_days)] if store.shift_days else []
        here = say("data.without" if stated.optional and not store.offered else "data.missing")
        here = say.value(store.problem) if store.problem else here
        if store.patients is not None:
            least = max(stated.min_patients, sheet.min_patients)
            here = say("data.counts", patients=store.patients, records=store.records or 0, least=least)
        sees = "; ".join([*_sees(sheet, store.name, stated, say), *ids])
        rows.append((store.name, sees, "; ".join(whose), here))
    return Section("data", title, table=Table(header, tuple(rows)), notes=(say("data.note"),))


def _condition(condition: Condition, say: Say) -> str:
    if condition.op in _MISSING:
        return f"{condition.column} {_MISSING[condition.op][say.language == 'de']}"
    return condition.in_words()


def _sees(sheet: Sheet, name: str, stated: DataStore, say: Say) -> list[str]:
    parts = [say.value(f"{say(f'data.kind.{stated.kind}')} {stated.table}")]
    if stated.columns == ("*",):
        parts.append(say("data.columns_all"))
    else:
        parts.append(say("data.columns", names=listed(stated.columns)) if stated.columns else say("data.columns_none"))
    if stated.files:
        parts.append(say("data.files", names=listed(stated.files)))
    if stated.features_file is not None:
        count = sheet.code.features.get(name, 0)
        parts.append(say("data.features_file", count=count, file=stated.features_file))
    elif stated.features == ("*",):
        parts.append(say("data.features_all"))
    elif stated.features:
        parts.append(say("data.features", count=len(stated.features), names=listed(stated.features)))
    if stated.modalities:
        every = stated.modalities == ("*",)
        parts.append(say("data.modalities_all") if every else say("data.modalities", names=listed(stated.modalities)))
    return parts


def listed(names: tuple[str, ...]) -> str:
    """The first of them, escaped."""
    return ", ".join(shown(name, 100) for name in names[:MAX_LISTED]) + (", …" if len(names) > MAX_LISTED else "")


def release(sheet: Sheet, say: Say) -> Section:
    """The release contract in words."""
    title = titled("release", say)
    if sheet.terms is None:
        return Section("release", title, rows=((say("release.item"), say("release.nothing")),))
    header = tuple(say(f"release.{name}") for name in ("message", "often", "item", "what"))
    rows, notes = release_table(sheet, sheet.terms, say)
    return Section("release", title, table=Table(header, rows), notes=notes)
