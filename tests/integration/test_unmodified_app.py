"""An app that never heard of flame_fl: refused, unless its owner says what that means."""

from tests.integration.runs import NODES, PLAIN, audit, result


def test_it_is_refused_with_the_way_on(simulate, tmp_path) -> None:
    """Exit code 3, the sentence about --policy open-simulation, and nothing is left behind."""
    done = simulate(PLAIN, "--out", tmp_path / "run")
    assert done.code == 3
    assert "somebody/plain states no [tool.flame]" in done.err
    assert "--policy open-simulation" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_program_reads_the_refusals_code(simulate, tmp_path) -> None:
    """901 in --json: nothing is configured that would approve it."""
    done = simulate(PLAIN, "--out", tmp_path / "run", "--json")
    assert (done.json["code"], done.json["exit_code"]) == (901, 3)


def test_with_the_open_policy_it_runs_and_the_result_says_so(simulate, tmp_path) -> None:
    """Unmodified, to the end; result.json names the policy and claims nothing."""
    done = simulate(PLAIN, "--policy", "open-simulation", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    run = result(tmp_path / "run")
    assert (run["status"], run["policy"], run["terms"]["ground"]) == ("finished", "open-simulation", "none")
    assert [node["messages"] for node in run["nodes"]] == [4] * 3


def test_every_audit_log_says_that_no_terms_held(simulate, tmp_path) -> None:
    """The approval of each virtual DIZ is marked."""
    simulate(PLAIN, "--policy", "open-simulation", "--out", tmp_path / "run")
    for node in NODES:
        (approval,) = audit(tmp_path / "run" / "nodes" / node / "state.db", "approval-approved")
        assert approval["unsafe_open"] is True


def test_the_report_says_that_no_terms_held(simulate, tmp_path) -> None:
    """A page without that word could pass for a protected run's."""
    simulate(PLAIN, "--policy", "open-simulation", "--out", tmp_path / "run")
    assert "open-simulation" in (tmp_path / "run" / "report.html").read_text()
