"""The program on the sheet: files, imports, findings, differences, the dry run, and what was decided before."""

from flame_fl.node.diff import FileChange
from flame_fl.node.dry_run_outcome import DryMessage, DryRunOutcome
from flame_fl.node.scan import words
from flame_fl.node.scan_words import risk_word
from flame_fl.node.sheet_model import Sheet
from flame_fl.node.sheet_parts import Section, Table, titled
from flame_fl.node.sheet_words import Say
from flame_fl.node.shown import shown

MAX_FILES_LISTED = 200
_KINDS = {"other": "other", "known": "known", "own": "own", "standard library": "standard"}


def program(sheet: Sheet, say: Say) -> Section:
    """Files and imports."""
    code = sheet.code
    rows = [(say("code.content"), code.content_sha256)]
    if code.problem:
        return Section("code", titled("code", say), tuple(rows), notes=(say("code.missing"),))
    total = sum(file.bytes for file in code.files)
    rows.append((say("code.size"), say("code.size_text", count=len(code.files), bytes=total)))
    for kind, key in _KINDS.items():
        if names := [used.name for used in code.imports if used.kind == kind]:
            rows.append((f"{say('code.imports')}: {say(f'code.imports.{key}')}", ", ".join(names)))
    table = Table(
        (say("code.file"), say("code.bytes")),
        tuple((shown(file.path, 300), say.value(file.bytes)) for file in code.files[:MAX_FILES_LISTED]),
    )
    left = len(code.files) - MAX_FILES_LISTED
    return Section(
        "code",
        titled("code", say),
        tuple(rows),
        table=table,
        notes=(say("code.more", count=left),) if left > 0 else (),
    )


def findings(sheet: Sheet, say: Say) -> Section:
    """What the scan found, the gravest first."""
    code, title = sheet.code, titled("findings", say)
    if code.problem:
        return Section("findings", title, notes=(say("code.missing"),))
    counts = {risk: code.counts.get(risk, 0) for risk in ("high", "medium", "low")}
    rows = ((say("findings.found"), say("findings.counts", parsed=code.parsed, **counts)),)
    header = tuple(say(f"findings.{name}") for name in ("risk", "place", "what", "line"))
    cells = tuple(
        (
            risk_word(found.risk, say.language),
            f"{found.path}:{found.line}" if found.line else found.path,
            words(found, say.language),
            found.snippet,
        )
        for found in code.findings
    )
    left = sum(counts.values()) - sum(found.count or 1 for found in code.findings)
    notes = [say("findings.more", count=left)] if left > 0 else []
    table = Table(header, cells) if cells else None
    return Section("findings", title, rows, table=table, notes=(*notes, say("findings.note")))


def changes(sheet: Sheet, say: Say) -> Section:
    """What differs from the last approved version: terms, then files, then lines."""
    title, earlier = titled("changes", say), sheet.earlier
    if earlier is None:
        return Section("changes", title, notes=(say("changes.none"),))
    looser = sum(change.direction == "looser" for change in earlier.terms)
    added, removed = (sum(getattr(file, name) for file in earlier.files) for name in ("added", "removed"))
    files = say("changes.files_text", count=len(earlier.files), same=earlier.same, added=added, removed=removed)
    rows = (
        (say("changes.version"), say("changes.version_text", digest=earlier.digest[:12], at=earlier.at[:10])),
        (say("changes.terms"), say("changes.terms_text", count=len(earlier.terms), looser=looser)),
        (say("changes.files"), files if not sheet.code.problem else say("code.missing")),
    )
    header = tuple(say(f"changes.{name}") for name in ("where", "before", "after", "effect"))
    cells = tuple(
        (change.path, change.before or "–", change.after or "–", say(f"changes.{change.direction or 'judge'}"))
        for change in earlier.terms
    )
    left = (say("changes.left_out", count=earlier.left_out),) if earlier.left_out else ()
    lines = tuple(line for file in earlier.files for line in _lines(file, say))
    return Section("changes", title, rows, Table(header, cells) if cells else None, left, lines=lines)


def _lines(file: FileChange, say: Say) -> list[str]:
    head = f"=== {file.path} ({say(f'changes.{file.how}')}, {say.value(file.bytes_before)} → "
    head += f"{say.value(file.bytes_after)} {say('code.bytes')}) ==="
    if file.form == "text":
        return [head, *file.lines]
    return [head, say("changes.binary" if file.form == "binary" else "changes.too_large")]


def dry_run(sheet: Sheet, say: Say) -> Section:
    """What a dry run showed, if there was one."""
    title, outcome = titled("dry_run", say), sheet.dry_run
    if outcome is None:
        return Section("dry_run", title, notes=(say("dry_run.none"),))
    rows = [
        (say("dry_run.at"), shown(outcome.at[:16].replace("T", " "))),
        (say("dry_run.took"), say("dry_run.seconds", seconds=round(outcome.seconds, 1))),
        *_stores(outcome, say),
    ]
    header = tuple(say(f"dry_run.{name}") for name in ("message", "outcome", "detail"))
    cells = tuple(
        (
            shown(message.message_type, 150),
            say(f"dry_run.{message.outcome}", **({"code": str(message.code)} if message.outcome == "refused" else {})),
            _detail(message, say),
        )
        for message in outcome.messages
    )
    unmasked = (say("dry_run.unmasked"),) if outcome.unmasked else ()
    notes = (*unmasked, say("dry_run.note"), *((say("dry_run.output"),) if outcome.output else ()))
    return Section("dry_run", title, tuple(rows), Table(header, cells), notes, lines=tuple(map(shown, outcome.output)))


def _stores(outcome: DryRunOutcome, say: Say) -> list[tuple[str, str]]:
    rows = []
    for name, made in outcome.stores.items():
        what = say("dry_run.store_text", records=made.records, patients=made.patients)
        text = say("dry_run.drafted", what=what) if made.schema_of == "drafted" else what
        rows.append((say("dry_run.store", name=name), text))
    return rows


def _detail(message: DryMessage, say: Say) -> str:
    took = say("dry_run.seconds", seconds=round(message.seconds, 1))
    if message.outcome == "released":
        return f"{say('dry_run.sent', bytes=message.bytes_out, items='; '.join(message.items))}; {took}"
    said = f"{message.detail} [{message.said}]" if message.said else message.detail
    return f"{shown(said, 1000)}; {took}"


def decisions(sheet: Sheet, say: Say) -> Section:
    """What was decided before, and what becomes of this sheet."""
    title = titled("decisions", say)
    if not sheet.decisions:
        return Section("decisions", title, notes=(say("decisions.none"), say("decisions.note")))
    header = tuple(say(f"decisions.{name}") for name in ("at", "act", "by", "comment"))
    cells = tuple(
        (shown(made.at[:16].replace("T", " ")), say(f"act.{made.act}"), shown(made.by, 200), say.value(made.comment))
        for made in sheet.decisions
    )
    return Section("decisions", title, table=Table(header, cells), notes=(say("decisions.note"),))
