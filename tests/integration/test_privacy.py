"""A derived analysis with an enforced claim, from the command line to the report."""

import os

import pytest

from tests.integration.runs import NODES, TOY, bits, edited, refusals, replies, result

SITE = ("--privacy", "site", "--epsilon", 4)
SLOW = (
    "toy/client_app.py",
    '    time.sleep(float(context.run_config["pause"]))\n',
    "    if str(index) == open(SLOW_NODE).read():\n        time.sleep(2)\n",
)


def test_no_diz_spends_more_than_epsilon(simulate, tmp_path) -> None:
    """Also after every message that the contract allows, and then nearly all of it."""
    assert simulate(TOY, *SITE, "-c", "rounds=20", "--out", tmp_path / "run").code == 0
    spent = [node["epsilon_spent"] for node in result(tmp_path / "run")["nodes"]]
    assert len(spent) == 3
    assert all(3.9 < epsilon <= 4 for epsilon in spent)


def test_fewer_rounds_spend_less(simulate, tmp_path) -> None:
    """What is reported is what the ledger holds, not the cap."""
    simulate(TOY, *SITE, "-c", "rounds=1", "--out", tmp_path / "run")
    assert all(0 < node["epsilon_spent"] < 2 for node in result(tmp_path / "run")["nodes"])


def test_the_result_states_the_claim(simulate, tmp_path) -> None:
    """Unit, ground and mechanism, for the run and for each node."""
    simulate(TOY, *SITE, "--out", tmp_path / "run")
    run = result(tmp_path / "run")
    claim = run["terms"]
    assert (claim["unit"], claim["ground"], claim["mechanism"]) == ("site", "enforced", "discrete-gaussian")
    assert (claim["epsilon_max"], {node["ground"] for node in run["nodes"]}) == (4, {"enforced"})


def test_the_derived_analysis_has_a_digest_of_its_own(simulate, tmp_path) -> None:
    """The app's own approval does not cover it: on the same state it waits."""
    simulate(TOY, "--state", tmp_path / "state", "--out", tmp_path / "own")
    done = simulate(TOY, *SITE, "--state", tmp_path / "state", "--out", tmp_path / "derived", "--json")
    assert (done.code, done.json["code"]) == (3, 902)


def test_noise_changes_the_result(simulate, tmp_path) -> None:
    """Against the same clipping without it."""
    clip = ("pyproject.toml", 'mechanism = "none"', 'mechanism = "clip"\nclip_norm = 1.0')
    simulate(edited(TOY, tmp_path / "app", clip), "--out", tmp_path / "clipped")
    simulate(TOY, *SITE, "--out", tmp_path / "noised")
    assert bits(tmp_path / "clipped") != bits(tmp_path / "noised")


def test_the_seed_of_a_run_does_not_fix_its_noise(simulate, tmp_path) -> None:
    """Two runs of one seed differ: noise that could be repeated would protect nobody."""
    for name in ("a", "b"):
        simulate(TOY, *SITE, "--seed", 5, "--out", tmp_path / name)
    assert bits(tmp_path / "a") != bits(tmp_path / "b")
    assert result(tmp_path / "a")["noise_seeded"] is False


def test_seeded_noise_is_repeatable_and_said_to_be_seeded(simulate, tmp_path) -> None:
    """For tests only: the terminal, result.json and the page all say so."""
    for name in ("a", "b"):
        done = simulate(TOY, *SITE, "--noise-seed-for-tests", 3, "--out", tmp_path / name)
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    assert result(tmp_path / "a")["noise_seeded"] is True
    assert "SEEDED NOISE" in done.out
    assert "SEEDED NOISE" in (tmp_path / "a" / "report.html").read_text()


def test_another_noise_seed_is_other_noise(simulate, tmp_path) -> None:
    """The seed is used."""
    for seed in (3, 4):
        simulate(TOY, *SITE, "--noise-seed-for-tests", seed, "--out", tmp_path / str(seed))
    assert bits(tmp_path / "3") != bits(tmp_path / "4")


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="nodes take turns on one core")
def test_seeded_noise_is_repeatable_whoever_is_quicker(simulate, tmp_path) -> None:
    """In workers too: a slow first node and a slow second node get the noise they got before."""
    told = tmp_path / "slow"
    app = edited(TOY, tmp_path / "app", (SLOW[0], SLOW[1], SLOW[2].replace("SLOW_NODE", repr(str(told)))))
    for index in ("0", "1"):
        told.write_text(index)
        done = simulate(
            app, *SITE, "-c", "rounds=1", "--noise-seed-for-tests", 3, "--nodes", 2,
            "--sandbox", "subprocess", "--out", tmp_path / index,
        )  # fmt: skip
        assert done.code == 0, done.err
    first, second = ([replies(tmp_path / run, index)[0]["arrays"] for index in (0, 1)] for run in ("0", "1"))
    assert first == second


@pytest.mark.parametrize("how", ["raise", "extra", "nan"])
def test_under_a_claim_a_failure_does_not_show(simulate, tmp_path, how: str) -> None:
    """A node whose app fails sends noise like every other: no refusal, no missing reply, no other weight."""
    simulate(TOY, *SITE, "-c", f'misbehave="1:{how}"', "--out", tmp_path / "run")
    assert refusals(tmp_path / "run") == {node: {} for node in NODES}
    failed, honest = replies(tmp_path / "run", 1), replies(tmp_path / "run", 2)
    assert len(failed) == len(honest) == 3
    for one, other in zip(failed, honest, strict=True):
        assert one["metrics"] == other["metrics"] == {"metrics": {"num-examples": 1}}
        assert one["configs"]["flame"].keys() == other["configs"]["flame"].keys()
        assert any(one["arrays"]["arrays/x"])


def test_a_diz_stops_at_its_own_lifetime_cap(simulate, tmp_path) -> None:
    """A steward's smaller cap holds against a larger epsilon_max: 903, and nothing spent beyond it."""
    policy = tmp_path / "policy.toml"
    policy.write_text("epsilon_cap = 1.0\n")
    simulate(TOY, *SITE, "-c", "rounds=20", "--policy", policy, "--out", tmp_path / "run")
    for node in result(tmp_path / "run")["nodes"]:
        ((code, count),) = [(r["code"], r["count"]) for r in node["refusals"]]
        assert (code, count + node["messages"]) == (903, 20)
        assert node["messages"] > 0
        assert node["epsilon_spent"] <= 1.0


def test_a_shared_state_shares_the_budget(simulate, tmp_path) -> None:
    """Another analysis gets nothing of a DIZ whose lifetime cap the first one has spent."""
    policy = tmp_path / "policy.toml"
    policy.write_text('approve = "stated-terms"\nepsilon_cap = 4.0\n')
    for clip_norm in (1, 2):
        simulate(
            TOY, *SITE, "--clip-norm", clip_norm, "-c", "rounds=20", "--policy", policy,
            "--state", tmp_path / "state", "--out", tmp_path / str(clip_norm),
        )  # fmt: skip
    assert refusals(tmp_path / "1") == {node: {} for node in NODES}
    assert refusals(tmp_path / "2") == {node: {903: 20} for node in NODES}


def test_a_derived_analysis_is_for_one_run(simulate, tmp_path) -> None:
    """Its noise is chosen for one: a second run on that state is refused, whatever the app's own terms say."""
    for seed in (1, 2):
        simulate(TOY, *SITE, "--state", tmp_path / "state", "--seed", seed, "--out", tmp_path / str(seed))
    assert refusals(tmp_path / "2") == {node: {908: 3} for node in NODES}


def test_privacy_none_is_the_apps_own_result(simulate, tmp_path) -> None:
    """Without a claim nothing is clipped or rounded: the same bits as on the app's own terms without a mechanism."""
    simulate(TOY, "--out", tmp_path / "own")
    simulate(TOY, "--privacy", "none", "--out", tmp_path / "none")
    assert bits(tmp_path / "own") == bits(tmp_path / "none")
