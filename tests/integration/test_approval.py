"""What virtual DIZ approve, and what becomes of an analysis that they do not."""

import pytest

from tests.integration.runs import NODES, TOY, audit, bits, edited, refusals, replies, result, seen

ONE_BYTE = ("toy/client_app.py", '"""One round."""', '"""One Round."""')


@pytest.fixture
def changed(simulate, tmp_path):
    """An approved app in `state`, and the command's end after one byte of it was changed."""
    assert simulate(TOY, "--state", tmp_path / "state", "--out", tmp_path / "first").code == 0
    app = edited(TOY, tmp_path / "app", ONE_BYTE)
    return simulate(app, "--state", tmp_path / "state", "--out", tmp_path / "second", "--json")


def test_an_app_changed_by_one_byte_is_refused(changed) -> None:
    """Exit code 3 and code 902: it is another analysis, and nobody has approved it."""
    assert (changed.code, changed.json["code"], changed.json["exit_code"]) == (3, 902, 3)


def test_an_app_changed_by_one_byte_is_refused_by_every_diz(changed, tmp_path) -> None:
    """Each node's audit log has its own 902."""
    for node in NODES:
        refused = audit(tmp_path / "state" / node / "state.db", "refused")
        assert [entry["code"] for entry in refused] == [902]


def test_after_the_refusal_every_chain_still_verifies(changed, flame, tmp_path) -> None:
    """A refusal is an entry like any other."""
    assert flame("node", "audit", "verify", tmp_path / "state").code == 0


def test_a_refused_analysis_ran_nowhere(changed, tmp_path) -> None:
    """No message was released for it, no run opened, and its folder says why."""
    for node in NODES:
        state = tmp_path / "state" / node / "state.db"
        analyses = {entry["analysis"] for entry in audit(state, "run-opened")}
        assert analyses == {result(tmp_path / "first")["analysis_digest"]}
    assert result(tmp_path / "second")["status"] == "failed"
    assert refusals(tmp_path / "second") == {node: {902: 1} for node in NODES}
    assert not (tmp_path / "second" / "x.npy").exists()


def test_undone_the_change_is_approved_again(changed, simulate, tmp_path) -> None:
    """The approval is of the bytes, and stands."""
    assert simulate(TOY, "--state", tmp_path / "state", "--out", tmp_path / "third").code == 0


def test_a_person_is_told_who_refused_and_what_to_do(changed, simulate, tmp_path) -> None:
    """Code, nodes and a mend on standard error."""
    app = tmp_path / "app" / "toy"
    done = simulate(app, "--state", tmp_path / "state", "--out", tmp_path / "again")
    assert "902 PENDING_APPROVAL at DIZ-1, DIZ-2, DIZ-3" in done.err
    assert "--policy stated-terms" in done.err


def test_a_changed_run_config_default_is_another_analysis(simulate, tmp_path) -> None:
    """What the app itself says of its rounds is part of what was approved."""
    simulate(TOY, "--state", tmp_path / "state", "--out", tmp_path / "first")
    app = edited(TOY, tmp_path / "app", ("pyproject.toml", "rounds = 3", "rounds = 4"))
    done = simulate(app, "--state", tmp_path / "state", "--out", tmp_path / "second", "--json")
    assert done.json["code"] == 902


def test_an_override_in_its_range_needs_no_new_approval(simulate, tmp_path) -> None:
    """The digest covers the range; the run has as many rounds as was asked."""
    simulate(TOY, "--state", tmp_path / "state", "--out", tmp_path / "first")
    done = simulate(TOY, "--state", tmp_path / "state", "-c", "rounds=5", "--out", tmp_path / "second")
    assert (done.code, len(seen(tmp_path / "second"))) == (0, 5)


@pytest.mark.parametrize("override", ["rounds=21", "rounds=0", "rounds=2.5", 'rounds="2"', 'misbehave="2:raise"'])
def test_an_override_outside_its_terms_is_908_at_every_diz(simulate, tmp_path, override: str) -> None:
    """Out of range, of another type, or not one of the values: exit code 3, and nothing runs."""
    done = simulate(TOY, "-c", override, "--out", tmp_path / "run", "--json")
    assert (done.code, done.json["code"]) == (3, 908)
    assert refusals(tmp_path / "run") == {node: {908: 1} for node in NODES}
    assert not (tmp_path / "run" / "x.npy").exists()


def test_an_unknown_run_config_key_is_bad_input(simulate, tmp_path) -> None:
    """A misspelt key is the researcher's mistake, not a decision of a DIZ: exit code 2, and nothing is left."""
    done = simulate(TOY, "-c", "round=3", "--out", tmp_path / "run")
    assert done.code == 2
    assert "no run-config key 'round'" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_denied_diz_answers_901_and_the_others_go_on(simulate, tmp_path) -> None:
    """The status question and each round are refused, and nothing of it leaves."""
    assert simulate(TOY, "--deny", "DIZ-2", "--out", tmp_path / "run").code == 0
    assert refusals(tmp_path / "run") == {"DIZ-1": {}, "DIZ-2": {901: 4}, "DIZ-3": {}}
    assert {reply["code"] for reply in replies(tmp_path / "run", 1)} == {901}


def test_a_denied_diz_has_no_part_in_the_result(simulate, tmp_path) -> None:
    """The first average is that of the other two alone, weighed by their examples."""
    simulate(TOY, "--deny", "DIZ-2", "--out", tmp_path / "run")
    first, second = seen(tmp_path / "run")[:2]
    parts = [(reply["arrays"]["arrays/x"], reply["metrics"]["metrics"]["num-examples"]) for reply in
             first["replies"] if "arrays" in reply]  # fmt: skip
    assert [weight for _, weight in parts] == [10, 12]
    mean = [sum(x[i] * w for x, w in parts) / 22 for i in range(4)]
    assert second["sent"] == pytest.approx(mean)


def test_denying_every_diz_is_a_refusal(simulate, tmp_path) -> None:
    """Exit code 3 with 901."""
    denied = [word for node in NODES for word in ("--deny", node)]
    done = simulate(TOY, *denied, "--out", tmp_path / "run", "--json")
    assert (done.code, done.json["code"]) == (3, 901)


def test_the_policy_nothing_lets_nothing_run(simulate, tmp_path) -> None:
    """Everything waits for a steward: 902."""
    done = simulate(TOY, "--policy", "nothing", "--out", tmp_path / "run", "--json")
    assert (done.code, done.json["code"]) == (3, 902)


def test_an_app_past_its_last_day_is_907(simulate, tmp_path) -> None:
    """The terms' own validity holds in a simulation too."""
    app = edited(TOY, tmp_path / "app", ("pyproject.toml", "until = 2099-12-31", "until = 2020-12-31"))
    done = simulate(app, "--out", tmp_path / "run", "--json")
    assert (done.code, done.json["code"]) == (3, 907)


def test_more_runs_than_the_terms_allow_are_908(simulate, tmp_path) -> None:
    """Runs are counted over the life of an approval, across folders."""
    app = edited(TOY, tmp_path / "app", ("pyproject.toml", "runs = 20", "runs = 1"))
    assert simulate(app, "--state", tmp_path / "state", "--out", tmp_path / "first").code == 0
    simulate(app, "--state", tmp_path / "state", "--seed", 2, "--out", tmp_path / "second")
    assert refusals(tmp_path / "second") == {node: {908: 3} for node in NODES}


def test_more_messages_than_the_terms_allow_are_908(simulate, tmp_path) -> None:
    """The third round of a contract for two is refused; what came before it left."""
    app = edited(TOY, tmp_path / "app", ("pyproject.toml", "per_run = 20", "per_run = 2"))
    simulate(app, "--out", tmp_path / "run")
    assert [node["messages"] for node in result(tmp_path / "run")["nodes"]] == [2] * 3
    assert refusals(tmp_path / "run") == {node: {908: 1} for node in NODES}


def test_an_approval_for_one_sandbox_is_none_for_another(simulate, tmp_path) -> None:
    """Where the app runs is part of what was approved: 908, and nothing runs."""
    simulate(TOY, "--state", tmp_path / "state", "--out", tmp_path / "first")
    done = simulate(
        TOY, "--state", tmp_path / "state", "--sandbox", "subprocess", "--out", tmp_path / "second", "--json"
    )
    assert (done.code, done.json["code"]) == (3, 908)


def test_approvals_do_not_change_a_result(simulate, tmp_path) -> None:
    """A run on a shared state computes what one on a fresh state does."""
    simulate(TOY, "--state", tmp_path / "state", "--out", tmp_path / "a")
    simulate(TOY, "--state", tmp_path / "state", "--seed", 2, "--out", tmp_path / "b")
    simulate(TOY, "--seed", 2, "--out", tmp_path / "c")
    assert bits(tmp_path / "b") == bits(tmp_path / "c")
