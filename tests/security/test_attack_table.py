"""`docs/attacks.md` is what the tests declare."""

import pytest

from tests.security import attack_table


def test_the_document_is_up_to_date() -> None:
    written = attack_table.DOCUMENT.read_text(encoding="utf-8")
    assert written == attack_table.document(), "run `python -m tests.security.attack_table`"


@pytest.mark.parametrize("file", attack_table.DECLARED.values())
def test_every_attack_says_what_is_tried_and_what_holds(file: str) -> None:
    """But for the controls, whose names say that they are: they need no container of their own."""
    silent = {n for n, t in attack_table.tests_of(attack_table.load(file)) if not hasattr(t, "declared")}
    assert silent <= {
        "test_an_honest_answer_leaves",
        "test_another_bundle_is_filed_and_starts_nothing",
        "test_nothing_of_these_attacks_is_left",
    }
    assert all(len(text) > 10 for _, *row in attack_table.declared(file) for text in row)


def test_every_file_with_attacks_is_in_the_table() -> None:
    folder = attack_table.ROOT / "tests" / "security"
    there = {path.relative_to(attack_table.ROOT).as_posix() for path in folder.rglob("test_*.py")}
    named = {*attack_table.DECLARED.values(), *attack_table.NAMED}
    others = {"tests/security/test_attack_table.py", "tests/security/docker/test_seccomp_families.py"}
    assert there == (named | others) - {"tests/unit/sandbox/test_attacks.py"}
