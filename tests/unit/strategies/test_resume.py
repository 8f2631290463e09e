"""A fit that was killed goes on from its checkpoint to the bits of one that was not, wherever it was killed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from flame_strategies import AdamTerms, ClipTerms, FlameDpFedAvg, FlameFedAdam, FlameFedAvg, NotEnoughNodes
from flame_strategies import checkpoint as module
from flame_strategies.early_stopping import EarlyStopping
from flame_strategies.errors import CheckpointError
from flame_strategies.message_size import MESSAGE_BYTES
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict
from numpy.testing import assert_array_equal

START = {"w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2), "a": np.array(0.5), "steps": np.array(3)}
NODES, ROUNDS = (5, 8, 11), 4
STRATEGIES = {
    "fedavg": FlameFedAvg,
    "fedadam": lambda **terms: FlameFedAdam(adam=AdamTerms(eta=0.05), **terms),
    "momentum": lambda **terms: FlameDpFedAvg(clipping=ClipTerms(initial=2.0), momentum=0.9, **terms),
}


class KilledError(Exception):
    """The process is gone."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Where checkpoints and artefacts go."""
    monkeypatch.setenv("FLAME_CHECKPOINT", str(tmp_path / "checkpoint"))
    monkeypatch.setenv("FLAME_OUT", str(tmp_path))
    module._fits.clear()
    return tmp_path


def trains(flower, node, *, dies_at=None, fails=None):
    """A node whose training depends on model, node and round alone; `dies_at` ends the server's process."""

    def app(message):
        server_round, leg = message.content["config"]["server-round"], message.metadata.message_type
        if (leg, server_round, node) == dies_at:
            raise KilledError
        if fails and (leg, server_round) in fails:
            return fails[leg, server_round]
        arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
        loss = float(sum(np.sum(np.square(array)) for array in arrays.values()))
        if leg == "evaluate":
            return RecordDict({"metrics": MetricRecord({"num-examples": node, "loss": loss})})
        rng = np.random.default_rng([server_round, node])
        moved = {n: np.asarray(a + rng.normal(size=a.shape), dtype=a.dtype) for n, a in arrays.items()}
        reply = flower.update(moved, node, loss=loss)
        noise = {"ground": "none", "noise_std": 0.0, "clip_norm": 1.5, "below_clip": 0.7, "below_clip_std": 0.1}
        reply["flame"] = ConfigRecord(noise)
        return reply

    return flower.behind_gate(app)


def forget(folder):
    """The next fit is of another run."""
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def fit(flower, make, *, nodes=None, rounds=ROUNDS, **terms):
    """A process's fit. Its strategy, grid and result."""
    module._fits.clear()
    nodes = nodes or {node: trains(flower, node) for node in NODES}
    strategy, grid = make(**terms), flower.Grid(nodes)
    return strategy, grid, strategy.start(grid, flower.model(**START), num_rounds=rounds)


def bits(result):
    """Everything that a fit shows."""
    return (
        [(name, array.numpy().dtype, array.numpy().tobytes()) for name, array in result.arrays.items()],
        {n: dict(m) for n, m in result.train_metrics_clientapp.items()},
        {n: dict(m) for n, m in result.evaluate_metrics_clientapp.items()},
        {n: {k: dict(m) for k, m in s.items()} for n, s in result.evaluate_metrics_by_site.items()},
    )


@pytest.mark.parametrize("kind", STRATEGIES)
@pytest.mark.parametrize("dies_at", [("train", 2, 5), ("train", 3, 11), ("evaluate", 3, 8), ("evaluate", 4, 11)])
def test_killed_anywhere_it_ends_with_the_same_bits(flower, folder, monkeypatch, kind, dies_at):
    """Model, moments, velocity, history and the file of metrics; the round that was not kept is asked again."""
    make = STRATEGIES[kind]
    _, _, whole = fit(flower, make)
    metrics = (folder / "metrics.jsonl").read_bytes()
    monkeypatch.setenv("FLAME_CHECKPOINT", str(folder / "other"))
    with pytest.raises(KilledError):
        fit(flower, make, nodes={node: trains(flower, node, dies_at=dies_at) for node in NODES})
    strategy, grid, resumed = fit(flower, make)
    assert bits(resumed) == bits(whole)
    assert (folder / "metrics.jsonl").read_bytes() == metrics
    assert resumed.resumed_round == dies_at[1] - 1
    assert len(grid.legs("train")) == (ROUNDS - resumed.resumed_round) * len(NODES)
    assert set(strategy.noise) == set(range(1, ROUNDS + 1))


def test_killed_at_every_round_it_ends_with_the_same_bits(flower, folder, monkeypatch):
    """What is read back is written again as it was."""
    make = STRATEGIES["fedadam"]
    _, _, whole = fit(flower, make)
    monkeypatch.setenv("FLAME_CHECKPOINT", str(folder / "other"))
    for number in range(1, ROUNDS + 1):
        with pytest.raises(KilledError):
            fit(flower, make, nodes={n: trains(flower, n, dies_at=("train", number, 11)) for n in NODES})
    assert bits(fit(flower, make)[2]) == bits(whole)


def test_a_fit_that_was_over_asks_nobody(flower):
    """The process died between the fit's end and the run's."""
    _, _, whole = fit(flower, FlameFedAvg)
    _, grid, again = fit(flower, FlameFedAvg)
    assert bits(again) == bits(whole)
    assert grid.sent == []


def test_two_fits_of_a_run_have_checkpoints_of_their_own(flower):
    """The second goes on, the first was over."""
    module._fits.clear()
    grid = flower.Grid({node: trains(flower, node) for node in NODES})
    whole = [FlameFedAvg().start(grid, flower.model(**START), num_rounds=n) for n in (1, 2)]
    module._fits.clear()
    grid = flower.Grid({node: trains(flower, node) for node in NODES})
    assert [bits(FlameFedAvg().start(grid, flower.model(**START), num_rounds=n)) for n in (1, 2)] == list(
        map(bits, whole)
    )
    assert grid.sent == []


def test_another_fit_is_not_continued(flower):
    """Other rounds, another strategy: each says so, and nobody is asked."""
    fit(flower, FlameFedAvg)
    for make, rounds in ((FlameFedAvg, ROUNDS + 1), (STRATEGIES["fedadam"], ROUNDS)):
        with pytest.raises(CheckpointError, match="another fit"):
            fit(flower, make, rounds=rounds)


def test_a_state_that_is_not_the_strategy_s_is_refused(flower):
    """By each kind."""
    assert FlameFedAvg().save_state() == {}
    for strategy in (FlameFedAvg(), STRATEGIES["fedadam"](), STRATEGIES["momentum"]()):
        with pytest.raises(ValueError, match=r"keeps no state|no first and second|no search"):
            strategy.load_state({"x": np.ones(2)})


def test_states_come_back():
    """As they were given, before the first round, too."""
    for kind in ("fedadam", "momentum"):
        strategy, other = STRATEGIES[kind](), STRATEGIES[kind]()
        for _ in range(2):
            other.load_state(strategy.save_state())
            again = other.save_state()
            assert list(again) == list(strategy.save_state())
            for name, array in strategy.save_state().items():
                assert_array_equal(array, again[name])
            strategy.server_step({"w": np.ones(2)}, {"w": np.array([0.1, 3.0])})


def test_without_the_variable_nothing_is_kept(flower, folder, monkeypatch):
    """A simulation is resumed by replay; two ways at once would be none."""
    monkeypatch.delenv("FLAME_CHECKPOINT")
    monkeypatch.delenv("FLAME_OUT")
    fit(flower, FlameFedAvg)
    assert list(folder.iterdir()) == []


def test_refusals_are_remembered(flower):
    """A node whose budget was spent before the kill is not asked after it."""
    spent = {("train", 1): Error(903, "budget exhausted")}
    nodes = {node: trains(flower, node, dies_at=("train", 3, 11)) for node in NODES}
    with pytest.raises(KilledError):
        fit(flower, FlameFedAvg, nodes={**nodes, 5: trains(flower, 5, fails=spent)})
    strategy, grid, _ = fit(flower, FlameFedAvg)
    assert 5 not in grid.legs("train")
    assert [(r.server_round, r.node_id, r.code) for r in strategy.refusals] == [(1, 5, 903)]


def test_a_disk_that_is_full_ends_no_fit(flower, folder, caplog):
    """It is said once; a restart would take up an earlier round."""
    (folder / "checkpoint").write_text("in the way")
    fit(flower, FlameFedAvg)
    assert caplog.text.count("No checkpoint of round") == 1


def test_early_stopping_gives_the_best_model(flower, monkeypatch, folder):
    """Killed or not: the same round ends it, and the same one's model is the result."""
    terms = {"early_stopping": EarlyStopping("loss", patience=2), "rounds": 10}
    _, grid, whole = fit(flower, FlameFedAvg, **terms)
    losses = {n: m["loss"] for n, m in whole.evaluate_metrics_clientapp.items()}
    assert whole.best_round == min(losses, key=losses.__getitem__) == whole.stopped_round - 2
    assert max(losses) == whole.stopped_round < 10
    best = float(sum(np.sum(np.square(a.numpy())) for a in whole.arrays.values()))
    assert best == pytest.approx(losses[whole.best_round], rel=1e-6)
    monkeypatch.setenv("FLAME_CHECKPOINT", str(folder / "other"))
    dies_at = ("train", whole.stopped_round, 11)
    with pytest.raises(KilledError):
        fit(flower, FlameFedAvg, nodes={n: trains(flower, n, dies_at=dies_at) for n in NODES}, **terms)
    _, _, resumed = fit(flower, FlameFedAvg, **terms)
    assert bits(resumed) == bits(whole)
    assert (resumed.best_round, resumed.stopped_round) == (whole.best_round, whole.stopped_round)
    _, grid, again = fit(flower, FlameFedAvg, **terms)  # one that was over stays over
    assert (bits(again), grid.sent) == (bits(whole), [])


def told(flower, **facts):
    """A gate that tells of the terms."""
    record = flower.status()["flame"]
    return RecordDict({"flame": ConfigRecord({**record, **facts})})


def with_told(flower, **facts):
    """Nodes whose gates tell the same."""

    def behind(node):
        app = trains(flower, node)
        return lambda m: told(flower, **facts) if m.metadata.message_type == "query.flame_status" else app(m)

    return {node: behind(node) for node in NODES}


def test_quorum_and_deadline_come_from_the_terms(flower, folder):
    """Unless the app says otherwise."""
    strategy, grid, _ = fit(flower, FlameFedAvg, nodes=with_told(flower, min_sites=3, seconds=100.0), rounds=1)
    assert strategy.min_nodes == 3
    assert grid.timeouts[0] == 60.0
    assert grid.timeouts[1:] == pytest.approx([170.0, 170.0], abs=0.01)  # and the model's few bytes
    forget(folder)
    with pytest.raises(NotEnoughNodes, match="3 of the required 4"):
        fit(flower, FlameFedAvg, nodes=with_told(flower, min_sites=4), rounds=2)
    strategy, grid, _ = fit(
        flower, FlameFedAvg, nodes=with_told(flower, min_sites=4, seconds=9.0), rounds=3, min_nodes=2, timeout=5.0
    )
    assert (strategy.min_nodes, grid.timeouts[1:]) == (2, [5.0] * 6)


def test_after_a_restart_a_node_may_have_an_old_message_first(flower):
    """The question has time for one more, and the first round for two."""
    nodes = {node: trains(flower, node, dies_at=("train", 2, 11)) for node in NODES}
    with pytest.raises(KilledError):
        fit(flower, FlameFedAvg, nodes=nodes)
    _, grid, _ = fit(flower, FlameFedAvg)
    assert grid.timeouts == [960.0, 1800.0, 900.0, 900.0, 900.0, 900.0, 900.0]


def test_terms_without_room_for_the_rounds_are_said_before_they_are_asked(flower):
    """Half a fit would cost budgets and give nothing."""
    nodes = with_told(flower, messages=["train"], messages_left=[3])
    with pytest.raises(NotEnoughNodes, match=r"node 5: 3, node 8: 3(.|\n)*per_run of at least 8 \(4 rounds"):
        fit(flower, FlameFedAvg, nodes=nodes)
    fit(flower, FlameFedAvg, nodes=nodes, rounds=3)


def test_a_replay_needs_no_room(flower, monkeypatch):
    """A simulation that is resumed sends the same messages again, and they are not counted twice."""
    monkeypatch.setattr(flower.Grid, "flame_replays", True, raising=False)
    fit(flower, FlameFedAvg, nodes=with_told(flower, messages=["train"], messages_left=[1]))


def test_gates_that_answer_908_after_a_restart_are_explained(flower):
    """A gate that tells nothing refuses in the end."""
    nodes = {node: trains(flower, node, dies_at=("train", 2, 11)) for node in NODES}
    with pytest.raises(KilledError):
        fit(flower, FlameFedAvg, nodes=nodes)
    full = {("train", 4): Error(908, "terms violated")}
    with pytest.raises(NotEnoughNodes, match=r"resumed, and gates answer 908.*per_run of at least 8"):
        fit(flower, FlameFedAvg, nodes={node: trains(flower, node, fails=full) for node in NODES})


def test_a_message_that_nobody_would_read_is_not_sent(flower):
    """Nor one whose answer could leave no node."""
    from flame_strategies.errors import MessageTooLarge

    with pytest.raises(MessageTooLarge, match="max_message_bytes"):
        fit(flower, FlameFedAvg, message_bytes=100)
    nodes = with_told(flower, messages=["train"], messages_left=[9], messages_bytes=[39])
    with pytest.raises(MessageTooLarge, match=r"40 bytes of arrays.*39 bytes out.*messages.train.max_bytes"):
        fit(flower, FlameFedAvg, nodes=nodes, rounds=2)
    assert MESSAGE_BYTES == 1 << 30


def test_progress_is_told_to_a_grid_that_listens(flower):
    """And the log has it for everybody."""
    said = []
    module._fits.clear()
    grid = flower.Grid({node: trains(flower, node) for node in NODES})
    grid.flame_progress = said.append
    FlameFedAvg().start(grid, flower.model(**START), num_rounds=3)
    assert [(s["round"], s["rounds"], s["resumed_round"]) for s in said] == [(1, 3, 0), (2, 3, 0), (3, 3, 0)]
    assert all(s["seconds"] >= 0 for s in said)
    assert said[-1]["seconds_left"] == 0
    module._fits.clear()
    FlameFedAvg().start(grid, flower.model(**START), num_rounds=3)
    assert (said[-1]["round"], said[-1]["resumed_round"]) == (3, 3)


def test_each_site_s_evaluation_is_kept_for_display(flower, folder):
    """By round, in the result and in metrics.jsonl."""
    _, _, result = fit(flower, FlameFedAvg, rounds=2)
    assert {n: set(sites) for n, sites in result.evaluate_metrics_by_site.items()} == {1: set(NODES), 2: set(NODES)}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [set(line["sites"]) for line in lines] == [{"5", "8", "11"}] * 2
    mean = np.average([lines[0]["sites"][str(n)]["loss"] for n in NODES], weights=NODES)
    assert lines[0]["evaluate"]["loss"] == pytest.approx(mean, rel=1e-12)


def test_masked_replies_are_one_mean_and_nobodys_own(flower, folder, caplog):
    """Copies of the mean, the total of the weights at the first: the mean, the quorum by the sites in it."""
    mean = {n: np.asarray(a + 1) for n, a in START.items()}

    def masked(total, sites):
        def app(message):
            metrics = MetricRecord({"num-examples": total, "loss": 2.0})
            record = {"metrics": metrics, "flame": ConfigRecord({"masked_sites": sites})}
            if message.metadata.message_type == "train":
                record["arrays"] = ArrayRecord({n: Array(a) for n, a in mean.items()})
            return RecordDict(record)

        return flower.behind_gate(app)

    def nodes(sites):
        return {5: masked(100, sites), 8: masked(0, sites), 11: masked(0, sites)}

    caplog.set_level("INFO")
    strategy, _, result = fit(flower, FlameFedAvg, nodes=nodes(3), rounds=1, min_nodes=3)
    for name, array in mean.items():
        assert_array_equal(result.arrays[name].numpy(), array)
    assert result.evaluate_metrics_clientapp[1]["loss"] == 2.0
    assert result.evaluate_metrics_by_site == {}
    assert strategy.refusals == []
    assert "only the mean over the sites" in caplog.text
    forget(folder)
    with pytest.raises(NotEnoughNodes, match="2 of the required 3"):
        fit(flower, FlameFedAvg, nodes=nodes(2), rounds=2, min_nodes=3)
