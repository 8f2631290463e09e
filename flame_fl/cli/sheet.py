"""The steward's sheet in a terminal, and the terms of an analysis in words for whoever writes one."""

from typing import TYPE_CHECKING

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flame_fl.cli.console import escaped, stdout
from flame_fl.cli.masked import print_masks
from flame_fl.cli.usefulness import print_usefulness
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.terms import DataStore, Terms

if TYPE_CHECKING:
    from flame_fl.node.scan_words import Language
    from flame_fl.node.sheet import Section, Sheet

_COLOURS = {"high": "bold red", "medium": "yellow", "low": "dim"}
_DIFF_COLOURS = {"+": "green", "-": "red", "@": "cyan", "=": "bold"}


def print_steward_sheet(sheet: "Sheet", language: "Language") -> None:
    """All that is known of an analysis at this node, in German or English."""
    from flame_fl.node.sheet import sections

    for section in sections(sheet, language):
        _print_section(section, language)
    stdout.print(Text(f"SHA-256 {sheet.sha256}", style="dim"))


def _print_section(section: "Section", language: "Language") -> None:
    from flame_fl.node.sheet_words import Say

    say = Say(language)
    stdout.print()
    stdout.print(Text(section.title, style="bold underline"))
    for warned in section.warnings:
        mark = Text(f"{say(f'level.{warned.level}'):>6}  ", style=_COLOURS[warned.level])
        stdout.print(mark.append(warned.text, style="default"))
    if section.rows:
        stdout.print(_grid(section.rows))
    if section.table is not None:
        table = Table(title_justify="left")
        for column in section.table.columns:
            table.add_column(Text(column), overflow="fold")
        for row in section.table.rows:
            table.add_row(*map(Text, row))
        stdout.print(table)
    for note in section.notes:
        stdout.print(Text(note, style="italic"))
    if section.lines:
        coloured = [Text(line, style=_DIFF_COLOURS.get(line[:1], "default")) for line in section.lines]
        stdout.print(Panel(Text("\n").join(coloured), expand=False))


def _grid(rows: tuple[tuple[str, str], ...]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", max_width=34, overflow="fold")
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(Text(label), Text(text))
    return grid


def print_sheet(manifest: Manifest, terms: Terms, *, title: str, about_code: str = "") -> None:
    """What a steward decides about: who asks, for what, which data, what leaves."""
    p, project = terms.privacy, terms.project
    about = Table(title=title, show_header=False, title_justify="left")
    about.add_column(style="bold")
    about.add_column(overflow="fold")
    rows = [
        ("project", f"{project.id}: {project.title}"),
        ("purpose", project.purpose),
        ("legal basis", project.legal_basis),
        ("ethics", project.ethics_reference),
        ("responsible", project.responsible_person),
        ("code", f"{manifest.app}{about_code}, content {manifest.fab_content_sha256[:16]}…"),
        ("analysis digest", manifest.digest),
        ("valid", f"{terms.validity.from_} to {terms.validity.until}, at most {terms.limits.runs} runs per DIZ"),
        ("privacy unit, ground", f"{p.unit}, {p.ground}"),
        ("privacy in words", privacy_in_words(terms)),
    ]
    for name, value in rows:
        about.add_row(name, escaped(value))
    for name, store in terms.data.items():
        about.add_row("reads", escaped(f"data store {name}: {reads_in_words(store)}"))
    stdout.print(about)
    leaves = Table(title="What may leave (nothing else does)", title_justify="left")
    for column in ("message", "per run", "item", "kind", "shape"):
        leaves.add_column(column, overflow="fold")
    for kind, message in terms.messages.items():
        for array in message.arrays:
            shape = " × ".join(str(d) for d in array.shape) or "scalar"
            leaves.add_row(kind, str(message.per_run), escaped(f"{array.record}/{array.name}"), array.dtype, shape)
        for metric in message.metrics:
            leaves.add_row(kind, str(message.per_run), escaped(f"{metric.record}/{metric.name}"), metric.kind, "")
    stdout.print(leaves)
    print_masks(terms)
    print_usefulness(terms)


def reads_in_words(store: DataStore) -> str:
    """Which data, in one sentence: nothing that it does not name is in the app's view."""
    ids = store.patient_id if store.record_id is None else f"{store.patient_id} and {store.record_id}"
    columns = "every column" if store.columns == ("*",) else f"columns {', '.join(store.columns) or 'none'}"
    parts = [f"{store.kind} {store.table}, ids {ids}", columns]
    if store.files:
        parts.append(f"files {', '.join(store.files)}")
    if store.features_file is not None:
        parts.append(f"the features listed in {store.features_file}")
    elif store.features:
        parts.append("every feature" if store.features == ("*",) else f"{len(store.features)} features")
    if store.modalities:
        parts.append("every modality" if store.modalities == ("*",) else f"modalities {', '.join(store.modalities)}")
    parts += [f"only where {condition.in_words()}" for condition in store.where]
    return f"{'; '.join(parts)}; at least {store.min_patients} patients"


def privacy_in_words(terms: Terms) -> str:
    """One sentence a data protection officer can read."""
    p = terms.privacy
    if p.claims:
        return f"{_mechanism_in_words(terms)}: at most ε = {p.epsilon_max:g} at δ = {p.delta:g} (unit: {p.unit})."
    if p.mechanism == "clip":
        return f"No bound is claimed. The gate clips each update to {p.clip_norm:g}: less influence, same disclosure."
    return "No bound is claimed. What leaves is protected by your review of the code and of the list below."


def _mechanism_in_words(terms: Terms) -> str:
    p = terms.privacy
    noise = f"adds noise {p.noise_multiplier:g} times that"
    clip = f"update to {p.clip_norm:g}"
    if p.ground == "enforced" and p.unit == "site":
        return f"The gate clips each DIZ's {clip} and {noise}, whatever the code does, for the whole DIZ"
    if p.ground == "enforced":
        return (
            f"The gate runs the code on {p.blocks} blocks of patients, each by itself for {p.slot_seconds:g} seconds,"
            f" clips each block's {clip}, {noise} to their sum and divides by {p.blocks}, whatever the code does"
        )
    if p.mechanism == "sums":
        done = f"sums up one contribution per patient, clips each to {p.clip_norm:g} and {noise}"
    else:
        done = (
            f"trains by {p.steps} steps per message, each on a random {p.sample_rate:.3g} of the patients, clips each"
            f" patient's gradient to {p.clip_norm:g} and {noise}"
        )
    if p.ground == "vetted":
        return f"Code of flame_fl's, in the app's place, {done}"
    return f"Reviewed only, not against hostile code: the app says that code of flame_fl's {done}"
