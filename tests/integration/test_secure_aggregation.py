"""Secure aggregation in whole simulations: strategies that know nothing of it, nodes that are lost, nothing plain."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.integration.runs import APPS, GIVE_UP_SECONDS, audit, edited, rows, wait_until

MASKED = APPS / "masked"
NODES = ("--nodes", "5")
SUM_ERROR = 5 / 2**39  # five sites, half a unit each, of 2^-40: 2^63 / (5 · 1000) is above 2^50, far finer
MEAN_ERROR = 5 / (2 * 2**14) / 15 + 1e-6  # 2^31 / (5 · 16 · 1000) is above 2^14; and float32's own rounding


def contribution(site: int, w: np.ndarray) -> np.ndarray:
    """As the app computes it."""
    return w + np.sqrt(np.arange(12).reshape(4, 3) + site) / 7


def mean_of(sites: list[int], w: np.ndarray) -> np.ndarray:
    """The weighted mean over sites."""
    return sum((site + 1) * contribution(site, w) for site in sites) / sum(site + 1 for site in sites)


def after(rounds: list[list[int]]) -> np.ndarray:
    """The model after rounds of these sites."""
    w = np.zeros((4, 3))
    for sites in rounds:
        w = mean_of(sites, w)
    return w


def seen(folder: Path) -> dict:
    return json.loads((folder / "seen.json").read_text())


def model(folder: Path) -> np.ndarray:
    return np.array(json.loads((folder / "w.json").read_text()))


EVERYBODY = [0, 1, 2, 3, 4]


def test_sums_and_means_are_those_of_the_sites(simulate, tmp_path) -> None:
    """Counts exactly, real numbers up to the fixed point; the strategies are those that know nothing of masks."""
    assert simulate(MASKED, *NODES, "--out", tmp_path / "run").code == 0
    found = seen(tmp_path / "run")
    assert found["sums"]["n"] == [15, 50]
    assert found["sums"]["x"] == pytest.approx([1.5, -3.0, 5.0], abs=SUM_ERROR)
    assert model(tmp_path / "run") == pytest.approx(after([EVERYBODY] * 3), abs=3 * MEAN_ERROR)


def test_every_reply_of_a_round_is_the_same_mean(simulate, tmp_path) -> None:
    """Of no site's own model anything is handed out: neither to the strategy nor in the metrics."""
    assert simulate(MASKED, *NODES, "--out", tmp_path / "run").code == 0
    for number in (1, 2, 3):
        handed = [row[2:] for row in seen(tmp_path / "run")["replies"] if row[0] == number]
        assert len(handed) == 5
        assert all(row == handed[0] for row in handed)
        assert handed[0][1] == {"num-examples": 3.0, "loss": pytest.approx(55 / 15, abs=1e-5)}
        assert handed[0][2] == 5


@pytest.mark.parametrize(
    ("lost", "rounds"),
    [
        ("4:2", [EVERYBODY, [0, 1, 2, 3], EVERYBODY]),
        ("3:2 4:2", [EVERYBODY, [0, 1, 2], EVERYBODY]),
        ("0:1 4:3", [[1, 2, 3, 4], EVERYBODY, [0, 1, 2, 3]]),
    ],
)
def test_the_mean_is_that_of_the_sites_that_are_left(simulate, tmp_path, lost: str, rounds: list[list[int]]) -> None:
    """A site whose sandbox fails is not in the round's mean; it is back after a new set-up."""
    assert simulate(MASKED, *NODES, "-c", f'lost="{lost}"', "--out", tmp_path / "run").code == 0
    assert model(tmp_path / "run") == pytest.approx(after(rounds), abs=3 * MEAN_ERROR)
    told = {number: {row[4] for row in seen(tmp_path / "run")["replies"] if row[0] == number} for number in (1, 2, 3)}
    assert told == {number: {len(sites)} for number, sites in enumerate(rounds, 1)}


def test_beyond_the_allowed_losses_nothing_is_unmasked(simulate, tmp_path) -> None:
    """Three of five are lost, two may be: the run ends with a sentence, and no gate gave a share for that sum."""
    done = simulate(MASKED, *NODES, "-c", 'lost="2:2 3:2 4:2"', "--out", tmp_path / "run")
    assert done.code == 1
    assert "2 of the 5 sites of a masked sum are left, 3 are the fewest" in done.err
    for node in ("DIZ-1", "DIZ-2"):
        state = tmp_path / "run" / "nodes" / node / "state.db"
        asked = [entry["message_type"] for entry in audit(state, "secure-aggregation")]
        assert asked.count("query.flame_sa_unmask") == 2  # of the sums, and of the first round


def test_what_left_a_gate_is_masked(simulate, tmp_path) -> None:
    """The same run twice: what the audit log says left differs in every bit, and the sums do not."""
    hashes = []
    for name in ("one", "two"):
        assert simulate(MASKED, *NODES, "--out", tmp_path / name).code == 0
        left = audit(tmp_path / name / "nodes" / "DIZ-1" / "state.db", "released")
        assert [entry["masked"]["index"] for entry in left] == [1, 2, 3, 4]
        assert all(entry["arrays"][0][:2] == ["flame_masked", "vector"] for entry in left)
        hashes.append([entry["content"] for entry in left])
    assert not set(hashes[0]) & set(hashes[1])
    assert (model(tmp_path / "one") == model(tmp_path / "two")).all()


def test_in_the_steady_state_a_sum_takes_two_exchanges(simulate, tmp_path) -> None:
    """One set-up, then for each of four sums the message and the unmasking; nobody signs where nobody was lost."""
    assert simulate(MASKED, *NODES, "--out", tmp_path / "run").code == 0
    state = tmp_path / "run" / "nodes" / "DIZ-1" / "state.db"
    legs = [entry["message_type"].removeprefix("query.flame_sa_") for entry in audit(state, "secure-aggregation")]
    assert legs == ["keys", "shares", *["unmask"] * 4]
    assert len(audit(state, "released")) == 4


def test_no_key_is_left_when_the_run_is_over(simulate, tmp_path) -> None:
    """The state knows that there was a set-up, and nothing else of it."""
    assert simulate(MASKED, *NODES, "--out", tmp_path / "run").code == 0
    state = tmp_path / "run" / "nodes" / "DIZ-1" / "state.db"
    assert rows(state, "SELECT epoch, state FROM masks") == [(1, "")]


def test_three_sites_of_which_one_is_lost_are_refused(simulate, tmp_path) -> None:
    """The terms ask for five sites in a set-up: three do not make one."""
    done = simulate(MASKED, "--nodes", "3", "--out", tmp_path / "run")
    assert done.code == 3


SUPPORT = ("pyproject.toml", "dropouts = 2\n", 'dropouts = 2\nsupport = { "sums/x" = ["DIZ-1", "DIZ-2", "DIZ-3"] }\n')


def test_sites_that_do_not_supply_an_array_add_zeros_to_it(simulate, tmp_path) -> None:
    """By the terms three of five supply it: what the others' apps answer there is not looked at."""
    app = edited(MASKED, tmp_path / "app", SUPPORT)
    assert simulate(app, *NODES, "--out", tmp_path / "run").code == 0
    assert seen(tmp_path / "run")["sums"]["n"] == [15, 50]
    assert seen(tmp_path / "run")["sums"]["x"] == pytest.approx([0.6, -1.2, 2.0], abs=SUM_ERROR)


def test_an_array_that_too_few_are_left_to_supply_is_not_unmasked(simulate, tmp_path) -> None:
    """One of its three is lost for good before the sum: four sites are left, two of which supply it."""
    app = edited(MASKED, tmp_path / "app", SUPPORT, ("masked/client_app.py", "def sums(message, context):\n", FAILS))
    done = simulate(app, *NODES, "--out", tmp_path / "run")
    assert done.code == 1
    assert "could not be unmasked" in done.err


FAILS = """def sums(message, context):
    if context.node_config["partition-id"] == 2:
        raise RuntimeError("lost")
"""
MIN_TOTAL = ("pyproject.toml", "dropouts = 2\n", 'dropouts = 2\nmin_total = 16\nmin_total_of = ["sums/n"]\n')


def test_only_totals_that_are_large_enough_are_added_up(simulate, tmp_path) -> None:
    """Of the totals 15 and 50 the first does not reach 16. With it goes the other: alone it could be subtracted."""
    app = edited(MASKED, tmp_path / "app", MIN_TOTAL)
    assert simulate(app, *NODES, "--out", tmp_path / "run").code == 0
    assert seen(tmp_path / "run")["sums"]["n"] == [0, 0]
    assert seen(tmp_path / "run")["sums"]["x"] == pytest.approx([1.5, -3.0, 5.0], abs=SUM_ERROR)


def test_a_total_that_just_reaches_it_is_added_up(simulate, tmp_path) -> None:
    """15 of 15."""
    app = edited(MASKED, tmp_path / "app", tuple(text.replace("= 16", "= 15") for text in MIN_TOTAL))
    assert simulate(app, *NODES, "--out", tmp_path / "run").code == 0
    assert seen(tmp_path / "run")["sums"]["n"] == [15, 50]


def test_a_cell_size_below_each_sites_own_rule_is_refused(simulate, tmp_path) -> None:
    """What takes a rule's place is not weaker than it."""
    app = edited(MASKED, tmp_path / "app", tuple(text.replace("= 16", "= 2") for text in MIN_TOTAL))
    done = simulate(app, *NODES, "--out", tmp_path / "run")
    assert done.code == 2
    assert "takes the place of disclosure.min_cell" in done.err


def answered(run: Path, node: str) -> int:
    """How many masked answers left a node."""
    state = run / "nodes" / node / "state.db"
    return len(rows(state, "SELECT 1 FROM masks")) and len(audit(state, "released"))


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_same_bits(start, simulate, tmp_path) -> None:
    """Keys are stored with the answers that they mask: what goes on is the same set-up, and every mask comes off."""
    assert simulate(MASKED, *NODES, "--seed", 4, "-c", "rounds=5", "--out", tmp_path / "whole").code == 0
    arguments = ("simulate", MASKED, *NODES, "--seed", 4, "-c", "rounds=5 pause=0.3", "--out", tmp_path / "run")
    process = start(*arguments)
    wait_until(lambda: process.poll() is not None or answered(tmp_path / "run", "DIZ-2") >= 3, "the second round")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=GIVE_UP_SECONDS)
    assert not (tmp_path / "run" / "result.json").exists()
    again = start(*arguments)
    again.communicate(timeout=GIVE_UP_SECONDS)
    assert again.returncode == 0
    assert (model(tmp_path / "run") == model(tmp_path / "whole")).all()
    assert [row[4] for row in seen(tmp_path / "run")["replies"]] == [5] * 25


@pytest.mark.slow
def test_a_sandbox_killed_in_a_round_leaves_the_sum_of_the_others(simulate, tmp_path) -> None:
    """`kill -9` while it works: the model is that of the sites in each round."""
    arguments = (MASKED, *NODES, "--sandbox", "subprocess", "-c", 'lost="4:2!"', "--out", tmp_path / "run")
    assert simulate(*arguments).code == 0
    assert model(tmp_path / "run") == pytest.approx(after([EVERYBODY, [0, 1, 2, 3], EVERYBODY]), abs=3 * MEAN_ERROR)


def test_a_new_app_is_masked_by_an_option(flame, tmp_path) -> None:
    """`flame app new` and Flower's own FedAvg: the mean is the same with masks; and with shares of noise it runs."""
    app = tmp_path / "my-analysis"
    assert flame("app", "new", app).code == 0
    found = []
    for name, options in {"plain": (), "masked": ("--secure-aggregation",)}.items():
        done = flame("simulate", app, *NODES, "--sandbox", "in-process", "--out", tmp_path / name, *options)
        assert done.code == 0
        (said,) = [line for line in (done.out + done.err).splitlines() if line.startswith("mean:")]
        found.append([float(number) for number in said.removeprefix("mean:").strip(" []").split()])
    assert len(found[0]) == 4
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    noisy = ("--secure-aggregation", "--privacy", "site", "--epsilon", "8", "--out", tmp_path / "noisy")
    assert flame("simulate", app, *NODES, "--sandbox", "in-process", *noisy).code == 0
    state = tmp_path / "noisy" / "nodes" / "DIZ-1" / "state.db"
    assert {entry["masked"]["noise_shares"] for entry in audit(state, "released")} == {5}
