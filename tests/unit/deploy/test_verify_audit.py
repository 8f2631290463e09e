"""The auditor's program: it needs nothing of ours, and finds what the product's own check finds."""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import VerificationError
from flame_fl.gate.audit import BrokenChainError, Mark
from flame_fl.gate.audit_export import export_lines
from flame_fl.gate.checkpoints import EVERY
from flame_fl.gate.heads import Head
from flame_fl.gate.witnesses import Witnesses
from tests.architecture.tree import ROOT
from tests.support.chains import AT, KEY, OTHER_PUBLIC, PUBLIC, Row, State, chain

PROGRAM = ROOT / "deploy/auditor/verify_audit.py"
CHAIN = chain(8)
DONE = 0, 5
needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


def loaded() -> ModuleType:
    """The program as a module: a process for each of a thousand examples would take long."""
    spec = importlib.util.spec_from_file_location("verify_audit", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VERIFIER = loaded()


def exported(state: State, since: int = 1) -> list[str]:
    return list(export_lines(state.database, node="DIZ-1", key=PUBLIC, since=since))


def told(folder: Path, lines: list[str], *arguments: object) -> tuple[int, str]:
    """Exit code and what the program prints, as an auditor starts it."""
    (folder / "export.jsonl").write_text("".join(lines))
    command = [sys.executable, "-I", str(PROGRAM), str(folder / "export.jsonl"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def offline(folder: Path, lines: list[str], heads: tuple[str, ...] = ()) -> int | None:
    """The number that the auditor's program names; None if all holds. Signatures are not looked at."""
    (folder / "lines").write_text("".join(lines))
    with (folder / "lines").open("rb") as file:
        for export in VERIFIER.exports(file):
            export["first"].pop("key", None)
            try:
                VERIFIER.check(export, list(heads), "", folder)
            except VERIFIER.Broken as broken:
                return int(broken.args[0])
    return None


def product(state: State, heads: tuple[str, ...] = ()) -> int | None:
    """The number that the product names; None if all holds."""
    try:
        state.points.check((), [Mark(head, "a hub") for head in heads])
    except BrokenChainError as broken:
        return broken.number
    return None


@st.composite
def damaged(draw: st.DrawFn) -> list[Row]:
    """A chain after one or two acts of somebody with the file."""
    rows = list(CHAIN)
    for _ in range(draw(st.integers(1, 2))):
        if not rows:
            break
        at = draw(st.integers(0, len(rows) - 1))
        match draw(
            st.sampled_from(["drop", "edit", "edit and rehash", "swap", "cut", "repeat", "rewrite", "nonsense"])
        ):
            case "drop":
                del rows[at]
            case "edit":
                rows[at] = (rows[at][0].replace("kind", "kinc"), rows[at][1])
            case "edit and rehash":
                text = rows[at][0].replace("kind", "kinc")
                rows[at] = (text, sha256_hex(text.encode()))
            case "swap":
                to = draw(st.integers(0, len(rows) - 1))
                rows[at], rows[to] = rows[to], rows[at]
            case "cut":
                del rows[at:]
            case "repeat":
                rows.insert(draw(st.integers(0, len(rows))), rows[at])
            case "rewrite":
                rows = chain(len(rows) - at, after=rows[:at], note="changed")
            case _:
                rows[at] = (draw(st.text(max_size=5) | st.sampled_from(["{}", "[]", "1"])), rows[at][1])
    return rows


@settings(deadline=None, max_examples=150)
@given(rows=damaged(), heads=st.lists(st.sampled_from([row[1] for row in CHAIN]), max_size=3), points=st.booleans())
def test_it_names_the_same_entry_as_the_product(
    rows: list[Row], heads: list[str], points: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever was dropped, edited, exchanged, repeated, cut or rewritten, with and without checkpoints and heads."""
    folder = tmp_path_factory.mktemp("damaged")
    state = State(folder)
    state.put(rows)
    if points:
        state.alter(*(f"INSERT INTO checkpoints VALUES({n},'{CHAIN[n - 1][1]}','{AT}','')" for n in (3, 6)))
    found = product(state, tuple(heads))
    assert offline(folder, exported(state), tuple(heads)) == found
    if rows != CHAIN and {CHAIN[-1][1]} <= set(heads):
        assert found is not None
    state.database.close()


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_line_lost_changed_doubled_or_exchanged_on_the_way_is_found(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of an export, whichever line it is; of what is an entry, with its number."""
    folder = tmp_path_factory.mktemp("lines")
    state = State(folder)
    state.put(CHAIN)
    state.alter(f"INSERT INTO checkpoints VALUES(3,'{CHAIN[2][1]}','{AT}','')")
    Witnesses(state.database).keep([Head("DIZ-2", "ab" * 32), Head("DIZ-3", "cd" * 32)], "7", AT)
    lines = exported(state)
    state.database.close()
    at, to = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    how, was = data.draw(st.sampled_from(["delete", "edit", "swap", "double", "cut"])), list(lines)
    if how == "delete":
        del lines[at]
    elif how == "edit":
        place = data.draw(st.integers(0, len(lines[at]) - 2))
        letter = data.draw(st.characters(min_codepoint=32, max_codepoint=126))
        lines[at] = lines[at][:place] + letter + lines[at][place + 1 :]
    elif how == "swap":
        lines[at], lines[to] = lines[to], lines[at]
    elif how == "double":
        lines.insert(to, lines[at])
    else:
        del lines[max(at, 1) :]
    number = offline(folder, lines)
    harmless = _values(was) == _values(lines)
    assert (number is None) <= harmless
    if how == "delete" and 1 <= at <= len(CHAIN) and at < len(CHAIN):
        assert number == at


def _values(lines: list[str]) -> list[object]:
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        return []


class TestAsAnAuditorStartsIt:
    @pytest.fixture
    def state(self, tmp_path: Path) -> State:
        state = State(tmp_path)
        state.record(EVERY + 20)
        return state

    @pytest.fixture
    def key(self, tmp_path: Path) -> Path:
        (tmp_path / "identity.pub").write_text(f"{PUBLIC} DIZ-1\n")
        return tmp_path / "identity.pub"

    @needs_ssh_keygen
    def test_all_of_it_holds(self, state: State, key: Path, tmp_path: Path) -> None:
        """Entries, signatures by the known key, heads that others hold: then nothing is left unchecked."""
        (tmp_path / "heads.txt").write_text(f"# from the hub\nDIZ-1 {state.rows[-1][1]}\n")
        code, said = told(tmp_path, exported(state), "--key", key, "--against", tmp_path / "heads.txt")
        assert (code, "NOT CHECKED" in said) == (0, False), said
        assert f"OK 'DIZ-1' {EVERY + 20} entries hold, from 1; vouched for: up to {EVERY + 20}" in said

    def test_says_what_was_not_checked(self, state: State, tmp_path: Path) -> None:
        """No heads, and the export's own word for the key."""
        code, said = told(tmp_path, exported(state))
        assert (code, said.count("NOT CHECKED")) == (0, 2)

    @needs_ssh_keygen
    def test_another_key_is_not_the_nodes(self, state: State, tmp_path: Path) -> None:
        """An export that brings its own key proves nothing to who knows the right one."""
        (tmp_path / "other.pub").write_text(OTHER_PUBLIC)
        code, said = told(tmp_path, exported(state), "--key", tmp_path / "other.pub")
        assert (code, f"at entry {EVERY}: forged" in said) == (5, True), said

    @needs_ssh_keygen
    def test_a_signature_for_another_head_is_found(self, state: State, key: Path, tmp_path: Path) -> None:
        """Without the key a checkpoint cannot be made to fit."""
        state.put(chain(40, after=state.rows[:80], note="changed"))
        head = state.rows[EVERY - 1][1]
        state.alter(f"UPDATE checkpoints SET head='{head}'")
        state.points.file.unlink()
        code, said = told(tmp_path, exported(state), "--key", key)
        assert (code, f"at entry {EVERY}: forged" in said) == (5, True), said

    def test_a_truncated_chain_is_found_by_a_head(self, state: State, tmp_path: Path) -> None:
        """One that the hub kept, after the last checkpoint."""
        (tmp_path / "heads.txt").write_text("\n".join(stored for _, stored in state.rows[EVERY:]))
        state.alter(f"DELETE FROM audit WHERE seq>{EVERY + 7}")
        code, said = told(tmp_path, exported(state), "--against", tmp_path / "heads.txt")
        assert (code, f"at entry {EVERY + 8}: truncated" in said) == (5, True), said

    def test_a_part_is_checked_as_a_part(self, state: State, tmp_path: Path) -> None:
        """And says that the rest was not."""
        code, said = told(tmp_path, exported(state, since=EVERY + 1))
        assert (code, f"NOT CHECKED: entries before {EVERY + 1}" in said) == (0, True), said

    def test_a_damaged_file_of_the_newest_checkpoint_is_not_passed_over(self, state: State, tmp_path: Path) -> None:
        """As little as by the product."""
        state.points.file.write_text("{}")
        with pytest.raises(VerificationError):
            state.points.check([PUBLIC])
        assert told(tmp_path, exported(state))[0] == 5

    def test_each_of_many_nodes_is_judged(self, state: State, tmp_path: Path) -> None:
        """One that is broken does not hide the others."""
        sound = exported(state)
        state.alter("DELETE FROM audit WHERE seq=7")
        code, said = told(tmp_path, [*exported(state), *sound])
        assert (code, said.count("OK 'DIZ-1'"), said.count("BROKEN 'DIZ-1' at entry 7: dropped")) == (5, 1, 1), said

    @pytest.mark.parametrize("text", ["", "\x00\xff", '{"line": "entry"}\n', "[" * 5000, '{"line":"export"}\n' * 2])
    def test_of_anything_else_is_no_yes_and_no_crash(self, text: str, tmp_path: Path) -> None:
        """Exit code 2 for nothing, 5 for what is none."""
        code, said = told(tmp_path, [text])
        assert (code, "Traceback" in said) == (5 if text else 2, False), said

    def test_no_head_to_compare_with_is_bad_input(self, state: State, tmp_path: Path) -> None:
        """Nothing was compared, so nothing may look compared."""
        (tmp_path / "heads.txt").write_text("none\n")
        assert told(tmp_path, exported(state), "--against", tmp_path / "heads.txt")[0] == 2

    def test_names_cannot_paint_the_terminal(self, state: State, tmp_path: Path) -> None:
        """An export may come from anybody."""
        lines = list(export_lines(state.database, node="\x1b[31m\u202e", key="\x1b[31m x\x1b[31m"))
        assert "\x1b" not in told(tmp_path, lines)[1]


class TestWhatAnAuditorReads:
    def test_is_one_small_file_of_the_standard_library(self) -> None:
        """To be read before it is trusted."""
        text = PROGRAM.read_text()
        roots = {
            (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        assert roots <= set(sys.stdlib_module_names)
        assert len([line for line in text.splitlines() if line.strip()]) < 150

    def test_names_its_options(self) -> None:
        """What its README shows are its options."""
        readme = (PROGRAM.parent / "README.md").read_text()
        assert all(option in readme for option in ("--against", "--key", "python3 -I verify_audit.py"))


def test_an_export_is_signed_with_the_key_that_it_names(tmp_path: Path) -> None:
    """The first line is enough to know whose it claims to be."""
    state = State(tmp_path, KEY)
    assert json.loads(exported(state)[0]) == {
        "line": "export",
        "version": 1,
        "node": "DIZ-1",
        "key": PUBLIC,
        "since": 1,
    }
