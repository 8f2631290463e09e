"""Every way in which one thing that an approval binds can be changed, as data: for a test, and for `docs/mutations.md`.

python -m tests.security.mutations
"""

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.fab import read_fab
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.terms import Terms
from flame_fl.data.layout import Layout
from flame_fl.gate.approval import ApprovalRecord, ProjectRecord, Status
from flame_fl.gate.decisions import close_analysis
from flame_fl.gate.signatures import APPROVAL_NAMESPACE, public_text, sign
from flame_fl.gate.trust import Signed
from tests.support.gates import (
    ENFORCED,
    STEWARD,
    TODAY,
    FakeOffer,
    World,
    make_fab,
    make_terms,
    manifest_from,
    signature_under,
    zip_of,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "mutations.md"
_STATED = make_terms(privacy=ENFORCED)
TABLE: dict[str, Any] = _STATED.model_dump(mode="python", by_alias=True, exclude_none=True)
CONFIG = {"rounds": 3, "rate": 0.5, "word": "a", "flag": True}
FAB = make_fab(TABLE, config=CONFIG)
_STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)


@dataclass(frozen=True)
class Ask:
    """What is asked of the gate in the end."""

    raw_fab: bytes = FAB
    overrides: Mapping[str, Any] | None = None
    kind: str = "train"


Change = Callable[[World], Ask]


def approved(folder: Path) -> World:
    """A DIZ where `FAB` was filed, and is approved by a steward for a roster of two sites."""
    world = World(folder)
    assert world.code(FAB, leg="0") is RefusalCode.PENDING_APPROVAL
    (project,) = world.store.projects()
    roster = {"here": world.trust.node_key, "there": public_text(_STRANGER.public_key())}
    world.store.put_project(replace(project, roster=roster))
    world.decide(FAB)
    return world


def groups() -> dict[str, list[tuple[str, Change]]]:
    """Everything that is changed, by what it belongs to."""
    return {
        "a field of the terms ([tool.flame] in the bundle)": list(_terms()),
        "a default of the run config in the bundle": list(_config()),
        "one bit of each byte of the bundle": [(f"byte {at}", _asks(_flipped(FAB, at))) for at in range(len(FAB))],
        "a file of the bundle": list(_files()),
        "an override at submission": list(_overrides()),
        "the message type": [(kind, _asks(kind=kind)) for kind in ("evaluate", "query", "train.more", "query.flame_x")],
        "the sandbox": [("another image", _sandbox)],
        "the data": list(_data()),
        "the participants": list(_roster()),
        "a field of the statement that was signed": list(_statement()),
        "one character of the signature": list(_signature()),
        "the signature as a whole": list(_signatures()),
        "the key": list(_keys()),
        "the day": list(_days()),
        "the project's approval": list(_project()),
        "what the node has stored": list(_stored()),
    }


def _asks(raw_fab: bytes = FAB, overrides: Mapping[str, Any] | None = None, kind: str = "train") -> Change:
    return lambda world: Ask(raw_fab, overrides, kind)


# --- what the researcher can change ------------------------------------------------------------------------------


def _terms() -> Iterator[tuple[str, Change]]:
    for path in _leaves(TABLE):
        yield ".".join(map(str, path)), _asks(make_fab(_changed(TABLE, path), config=CONFIG))


def _config() -> Iterator[tuple[str, Change]]:
    for key, value in CONFIG.items():
        yield key, _asks(make_fab(TABLE, config=CONFIG | {key: _other(value)}))
    yield "one more", _asks(make_fab(TABLE, config=CONFIG | {"more": 1}))
    yield "one less", _asks(make_fab(TABLE, config={k: v for k, v in CONFIG.items() if k != "word"}))


def _files() -> Iterator[tuple[str, Change]]:
    files = dict(read_fab(FAB).files)
    for name, data in files.items():
        kept = {k: v for k, v in files.items() if k != name}
        yield f"without {name}", _asks(zip_of(kept.items()))
        yield f"{name} renamed", _asks(zip_of({**kept, f"{name}x": data}.items()))
        yield f"{name} with one byte more", _asks(zip_of({**files, name: data + b"\n"}.items()))
    yield "one more file", _asks(zip_of({**files, "app/more.py": b""}.items()))
    yield "packed in another order", _asks(zip_of(reversed(files.items())))


def _overrides() -> Iterator[tuple[str, Change]]:
    for value in (0, 6, 3.0, "3", True, None, [3]):
        yield f"rounds = {value!r}", _asks(overrides={"rounds": value})
    for key in ("rate", "word", "flag", "unknown", "rounds "):
        yield f"{key} =", _asks(overrides={key: CONFIG.get(key, 1)})


# --- what only the node has --------------------------------------------------------------------------------------


def _sandbox(world: World) -> Ask:
    world.sandbox.kind = "another image"
    return Ask()


def _data() -> Iterator[tuple[str, Change]]:
    def put(**changes: Any) -> Change:
        def change(world: World) -> Ask:
            assert world.data is not None
            offer = FakeOffer(world.folder / "cohort", **{k: v for k, v in changes.items() if k != "layout"})
            if "layout" in changes:
                offer = type(offer)(world.folder / "cohort")
                offer.layout = changes["layout"]
            world.data["cohort"] = offer
            return Ask()

        return change

    yield "another version (one bit of its content)", put(snapshot="4" + "5" * 63)
    yield "too few patients", put(patients=4)
    for field, layout in {
        "another table": Layout("table", "other.parquet", "patient_id"),
        "another patient id": Layout("table", "samples.parquet", "pid"),
        "another kind": Layout("plink", "samples.parquet", "patient_id"),
        "counted by records": Layout("table", "samples.parquet", "patient_id", "record_id"),
    }.items():
        yield field, put(layout=layout)

    def gone(world: World) -> Ask:
        assert world.data is not None
        world.data.clear()
        return Ask()

    yield "no store", gone


def _roster() -> Iterator[tuple[str, Change]]:
    def put(change: Callable[[dict[str, str]], dict[str, str]]) -> Change:
        def apply(world: World) -> Ask:
            (project,) = world.store.projects()
            _resign_project(world, replace(project, roster=change(dict(project.roster))))
            return Ask()

        return apply

    yield "one site more", put(lambda r: {**r, "more": public_text(Ed25519PrivateKey.generate().public_key())})
    yield "one site less", put(lambda r: {"here": r["here"]})
    yield "one key replaced", put(lambda r: {**r, "there": public_text(Ed25519PrivateKey.generate().public_key())})
    yield "one name changed", put(lambda r: {"here": r["here"], "elsewhere": r["there"]})
    yield "nobody", put(lambda r: {})


# --- signatures --------------------------------------------------------------------------------------------------


def _record(world: World) -> ApprovalRecord:
    record = world.store.approval(manifest_from(FAB).digest)
    assert record is not None
    return record


def _put(world: World, *signatures: Signed) -> Ask:
    world.store.put_approval(replace(_record(world), status=Status.APPROVED, signatures=signatures))
    return Ask()


def _statement() -> Iterator[tuple[str, Change]]:
    values = {
        "act": "reject", "subject": "project", "node": "SHA256:" + "A" * 43, "project": "b-project",
        "digest": "0" * 64, "binding": "0" * 64, "number": 1, "sheet": "0" * 64, "rule": "a rule",
        "rule_digest": "0" * 64, "at": "2026-01-01T00:00:00+00:00", "until": date(2998, 12, 31), "comment": "x",
    }  # fmt: skip

    def change(field: str, value: object) -> Change:
        def apply(world: World) -> Ask:
            (signed,) = _record(world).signatures
            return _put(world, replace(signed, statement=signed.statement.model_copy(update={field: value})))

        return apply

    def resigned(field: str, value: object) -> Change:
        def apply(world: World) -> Ask:
            record = _record(world)
            subject = replace(record.subject(record.binding_digest or ""), **{field: value})
            return _put(world, signature_under(subject, world.trust))

        return apply

    for field, value in values.items():
        yield field, change(field, value)
    for field in ("subject", "project", "digest", "binding", "number"):
        yield f"{field}, signed anew by a steward", resigned(field, values[field])


def _signature() -> Iterator[tuple[str, Change]]:
    def flip(at: int) -> Change:
        def apply(world: World) -> Ask:
            (signed,) = _record(world).signatures
            text = signed.signature
            other = "A" if text[at] != "A" else "B"
            return _put(world, replace(signed, signature=text[:at] + other + text[at + 1 :]))

        return apply

    length = sign(STEWARD, b"", APPROVAL_NAMESPACE)  # every signature is as long, with the same breaks of lines
    yield from ((f"character {at}", flip(at)) for at, character in enumerate(length) if character != "\n")


def _signatures() -> Iterator[tuple[str, Change]]:
    def with_text(change: Callable[[str], str]) -> Change:
        def apply(world: World) -> Ask:
            (signed,) = _record(world).signatures
            return _put(world, replace(signed, signature=change(signed.signature)))

        return apply

    yield "none", _put
    yield "empty", with_text(lambda text: "")
    for part in (0.25, 0.5, 0.75, 0.95):
        yield f"cut off after {part:.0%}", with_text(lambda text, part=part: text[: int(len(text) * part)])

    def foreign(world: World) -> Ask:
        (signed,) = _record(world).signatures
        return _put(world, replace(signed, signature=sign(_STRANGER, signed.statement.text, APPROVAL_NAMESPACE)))

    def purpose(world: World) -> Ask:
        (signed,) = _record(world).signatures
        return _put(world, replace(signed, signature=sign(STEWARD, signed.statement.text, "file")))

    def of_project(world: World) -> Ask:
        (project,) = world.store.projects()
        return _put(world, *project.signatures)

    def replayed(world: World) -> Ask:
        (signed,) = _record(world).signatures
        close_analysis(world.store, _record(world), by="steward", comment="")
        return _put(world, signed)

    yield "by a key that is no steward's", foreign
    yield "by a steward's key, for another purpose", purpose
    yield "the one under its project", of_project
    yield "from before a withdrawal", replayed


def _keys() -> Iterator[tuple[str, Change]]:
    def trust(**changes: Any) -> Change:
        def apply(world: World) -> Ask:
            world.trust = replace(world.trust, **changes)
            return Ask()

        return apply

    yield "the steward was removed", trust(stewards={})
    yield "the steward has another key now", trust(stewards={public_text(_STRANGER.public_key()): "steward"})
    yield "the node is another", trust(node_key=public_text(_STRANGER.public_key()))
    yield "two stewards are asked for", trust(needed=2)


def _days() -> Iterator[tuple[str, Change]]:
    def on(day: date) -> Change:
        def apply(world: World) -> Ask:
            world.today = day
            return Ask()

        return apply

    validity = _STATED.validity
    yield "the day before the first", on(validity.from_ - timedelta(days=1))
    yield "the day after the last", on(validity.until + timedelta(days=1))

    def over(world: World) -> Ask:
        record = _record(world)
        subject = record.subject(record.binding_digest or "")
        return _put(world, signature_under(subject, world.trust, until=TODAY - timedelta(days=1)))

    yield "the day after the steward's own last", over


def _resign_project(world: World, record: ProjectRecord) -> None:
    world.store.put_project(replace(record, signatures=(signature_under(record.subject, world.trust),)))


def _project() -> Iterator[tuple[str, Change]]:
    def put(**changes: Any) -> Change:
        def apply(world: World) -> Ask:
            (project,) = world.store.projects()
            world.store.put_project(replace(project, **changes))
            return Ask()

        return apply

    for status in (Status.PENDING, Status.REJECTED, Status.WITHDRAWN):
        yield status.value, put(status=status)
    yield "approved, but nobody signed", put(signatures=())
    yield (
        "approved under the analysis's signature",
        lambda world: (
            world.store.put_project(replace(world.store.projects()[0], signatures=_record(world).signatures)),
            Ask(),
        )[1],
    )


# --- the state file ----------------------------------------------------------------------------------------------


def _stored() -> Iterator[tuple[str, Change]]:
    def sql(statement: str, *, first: Callable[[World], None] = lambda world: None) -> Change:
        def apply(world: World) -> Ask:
            first(world)
            with closing(sqlite3.connect(world.store.path)) as database:
                assert database.execute(statement).rowcount == 1
                database.commit()
            return Ask()

        return apply

    def withdraw(world: World) -> None:
        close_analysis(world.store, _record(world), by="steward", comment="")

    more = Terms.model_validate(TABLE | {"limits": {"runs": 99}}).model_dump_json(by_alias=True).replace("'", "''")
    yield "terms slipped in as the steward's", sql(f"UPDATE approvals SET steward_terms='{more}'")
    yield "marked as unsafe_open", sql("UPDATE approvals SET unsafe_open=1")
    yield "another binding", sql(f"UPDATE approvals SET binding='{'0' * 64}'")
    yield "other versions of the data", sql('UPDATE approvals SET data=\'{"cohort": "4"}\'')
    yield (
        "a larger range in the manifest",
        sql("UPDATE approvals SET manifest=replace(manifest, '\"max\":5', '\"max\":9')"),
    )
    yield "approved again after a withdrawal", sql("UPDATE approvals SET status='approved'", first=withdraw)
    yield "another bundle as the one that was filed", sql(f"UPDATE approvals SET fab_sha256='{'0' * 64}'")
    yield "another app's name", sql("UPDATE approvals SET manifest=replace(manifest, 'an-app', 'my-app')")


# --- changing values ---------------------------------------------------------------------------------------------


def _flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    children = list(items)
    if not children:
        yield path
    for key, child in children:
        yield from _leaves(child, (*path, key))


def _changed(value: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return _other(value)
    head, *rest = path
    if isinstance(value, Mapping):
        return {k: _changed(v, tuple(rest)) if k == head else v for k, v in value.items()}
    return [_changed(v, tuple(rest)) if i == head else v for i, v in enumerate(value)]


def _other(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value * 2 + 1
        case str():
            return f"{value}x"
        case date():
            return value + timedelta(days=1)
        case Mapping():
            return {"more": 1}
        case _:
            return ["more"]


GROUPS = groups()


@dataclass(frozen=True)
class Tried:
    """What came of one group."""

    changes: int
    accepted: tuple[str, ...]
    codes: Mapping[int, int]


def outcome(folder: Path, change: Change) -> int:
    """The refusal's code after one change, 0 if something left; a sandbox that was started counts as that, too."""
    world = approved(folder)
    try:
        ask = change(world)
        code = world.code(ask.raw_fab, overrides=ask.overrides, kind=ask.kind)
        return 0 if code is None or world.sandbox.specs else int(code)
    finally:
        world.store.close()


def tried(folder: Path, changes: list[tuple[str, Change]]) -> Tried:
    """Make every change of a group, each at a DIZ of its own."""
    codes = {name: outcome(folder / str(number), change) for number, (name, change) in enumerate(changes)}
    counted = Counter(code for code in codes.values() if code)
    return Tried(len(changes), tuple(name for name, code in codes.items() if not code), dict(sorted(counted.items())))


def document(results: Mapping[str, Tried]) -> str:
    """The text of `docs/mutations.md`."""
    rows = [
        f"| {name} | {found.changes} | {len(found.accepted)} | "
        f"{', '.join(f'{code} ×{count}' for code, count in found.codes.items())} |"
        for name, found in results.items()
    ]
    total = sum(found.changes for found in results.values())
    accepted = sum(len(found.accepted) for found in results.values())
    return f"""# What an approval binds: the mutation table

Generated by `python -m tests.security.mutations`; `tests/security/test_mutations.py` makes every change again and
checks that the table is up to date. An analysis is filed, its project and the analysis are approved under a steward's
signature, and one message is answered (the control). Then, at a DIZ of its own, one thing is changed and the message is
sent again. Accepted would mean that a sandbox was started or something left.

| what is changed | changes | accepted | refused with |
|---|---:|---:|---|
{chr(10).join(rows)}
| **all** | **{total}** | **{accepted}** | |

The codes are those of `flame_fl/contract/refusal.py`: 901 not approved, 902 pending (another analysis, filed for the
steward), 907 withdrawn or expired, 908 outside the approved terms.
"""


def main() -> None:
    """Write the document."""
    with tempfile.TemporaryDirectory(prefix="flame-mutations-") as folder:
        results = {name: tried(Path(folder) / str(i), changes) for i, (name, changes) in enumerate(GROUPS.items())}
    DOCUMENT.write_text(document(results), encoding="utf-8")


if __name__ == "__main__":
    main()
