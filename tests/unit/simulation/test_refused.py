"""What a researcher reads when gates refuse."""

from pathlib import Path

import pytest

from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.workflow import Event
from flame_fl.simulation.refused import EveryDizRefusedError, RefusedWithoutTermsError, with_last_words
from flame_fl.simulation.settings import Standing

FOLDER = Path("flame-runs/run")


def standing(node: str, code: int) -> Standing:
    return Standing(node, "pending", code, "", 0)


def refusal(node: str, code: int, detail: str) -> Event:
    return Event(node, "refused", 7, "1", "train", detail, code)


def test_without_terms_the_researcher_is_told_of_both_ways_on() -> None:
    """Stating terms, or the policy for one's own data, with what it costs."""
    error = RefusedWithoutTermsError("somebody/plain")
    assert "somebody/plain states no [tool.flame]" in error.message
    assert "flame app check" in error.mend
    assert "--policy open-simulation" in error.mend
    assert "no DIZ has such a policy" in error.mend
    assert (error.exit_code, error.code) == (3, RefusalCode.NOT_APPROVED)


def test_equal_refusals_are_told_once_with_all_their_nodes() -> None:
    """Code, name, nodes and the gates' detail, grouped."""
    error = EveryDizRefusedError(
        [standing("A", 902), standing("B", 902), standing("C", 908)],
        [refusal("A", 902, "first sight"), refusal("B", 902, "first sight"), refusal("C", 908, "no store")],
        FOLDER,
    )
    assert error.message == (
        "Every virtual DIZ refused: 902 PENDING_APPROVAL at A, B (first sight); 908 TERMS_VIOLATED at C (no store)."
    )


def test_many_nodes_are_counted_not_listed() -> None:
    """Six names are four and a number."""
    error = EveryDizRefusedError([standing(f"DIZ-{i}", 901) for i in range(1, 7)], [], FOLDER)
    assert "at DIZ-1, DIZ-2, DIZ-3, DIZ-4 and 2 more." in error.message


def test_five_nodes_are_listed() -> None:
    """Nothing is abbreviated that need not be."""
    error = EveryDizRefusedError([standing(f"DIZ-{i}", 901) for i in range(1, 6)], [], FOLDER)
    assert "at DIZ-1, DIZ-2, DIZ-3, DIZ-4, DIZ-5." in error.message


def test_the_code_is_the_smallest_of_theirs() -> None:
    """One code for a program to read, whatever the order of the nodes."""
    error = EveryDizRefusedError([standing("A", 908), standing("B", 902), standing("C", 907)], [], FOLDER)
    assert (error.code, error.exit_code) == (RefusalCode.PENDING_APPROVAL, 3)


@pytest.mark.parametrize(
    ("code", "hint"),
    [(901, "--deny"), (902, "--policy stated-terms"), (907, "validity"), (908, "flame app check")],
)
def test_the_mend_fits_the_code_and_names_the_folder(code: int, hint: str) -> None:
    """What to do next, and where the refusal is written down."""
    mend = EveryDizRefusedError([standing("A", code)], [], FOLDER).mend
    assert hint in mend
    assert str(FOLDER) in mend


def test_a_failed_apps_last_words_stand_with_its_refusal(tmp_path: Path) -> None:
    """The last line of its log that says something, for a 905 and for nothing else."""
    for node in ("A", "B"):
        (tmp_path / f"{node}-7.log").write_text("Traceback\nValueError: oops\n \n\n")
    failed, late = with_last_words([refusal("A", 905, "It failed."), refusal("B", 906, "It was late.")], tmp_path)
    assert failed.detail == "It failed. It ended with: ValueError: oops"
    assert late.detail == "It was late."


def test_last_words_are_cut(tmp_path: Path) -> None:
    """A log of one endless line is shown in part, and read in part."""
    (tmp_path / "A-7.log").write_bytes(b"x" * 1_000_000)
    (event,) = with_last_words([refusal("A", 905, "It failed.")], tmp_path)
    assert len(event.detail) < 400


def test_a_log_that_is_no_text_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 do not stop the report."""
    (tmp_path / "A-7.log").write_bytes(b"\xff\xfe end\n")
    (event,) = with_last_words([refusal("A", 905, "It failed.")], tmp_path)
    assert event.detail.endswith("end")


def test_without_a_log_the_detail_stands_alone(tmp_path: Path) -> None:
    """An app that never started left none."""
    (event,) = with_last_words([refusal("A", 905, "It failed.")], tmp_path)
    assert event.detail == "It failed."


def test_details_are_sorted_by_node_as_people_count(tmp_path: Path) -> None:
    """DIZ-2 before DIZ-10, whoever was quicker."""
    events = [refusal(node, 904, "") for node in ("DIZ-10", "DIZ-2", "DIZ-1")]
    assert [e.node for e in with_last_words(events, tmp_path)] == ["DIZ-1", "DIZ-2", "DIZ-10"]
