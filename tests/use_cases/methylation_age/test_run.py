"""A whole run against three DIZ, and what it leaves behind."""

import csv
import json

import numpy as np
import pytest
from flame_strategies.errors import NotEnoughNodes
from flame_strategies.sums import to_records
from flwr.app import Context, Message, RecordDict
from methylation_age import client_app, server_app
from methylation_age.__main__ import main
from methylation_age.clock import load_clocks
from methylation_age.cohort import load_store
from methylation_age.errors import InputError

REFERENCE = {"centre": np.zeros(71), "scale": np.ones(71), "y_centre": np.zeros(1), "y_scale": np.ones(1)}


def context(run_config):
    return Context(1, 1, {}, RecordDict(), dict(run_config))


@pytest.fixture
def run(grid, tmp_path, monkeypatch):
    """The folder of a finished run."""
    monkeypatch.setenv("FLAME_OUT", str(tmp_path / "run"))
    server_app.app(grid, context(grid.run_config))
    return tmp_path / "run"


def test_a_run_leaves_clocks_and_a_report(run) -> None:
    """Both clocks are saved, and every figure of the report is there."""
    clocks, metadata = load_clocks(run)
    report = json.loads((run / "report.json").read_text())
    assert list(clocks) == ["elastic-net", "mlp"]
    assert metadata["clocks"]["elastic-net"]["training"]["rule"] == "one standard error"
    assert len(report["headline"]) == 4
    assert all((run / figure["file"]).stat().st_size > 1000 for figure in report["figures"])


def test_reported_accuracy_is_that_of_the_saved_clock(run, data) -> None:
    """The MAE in the report, formed from sums, is the MAE of the saved clock's predictions."""
    clocks, _ = load_clocks(run)
    errors = []
    for number in (1, 2, 3):
        test = load_store(data / f"DIZ-{number}" / "methylation", "gp-age-71").test
        errors.append(np.abs(clocks["elastic-net"].predict(test.betas[:, clocks["elastic-net"].columns]) - test.age))
    headline = json.loads((run / "report.json").read_text())["headline"][0]
    assert headline["value"] == f"{np.concatenate(errors).mean():.2f} years"


def test_no_prediction_and_no_id_leaves(run, grid) -> None:
    """No array of any answer has an axis as long as a DIZ's samples, and no answer holds a word."""
    sizes = set()
    for store in grid.stores.values():
        cohort = load_store(store, "gp-age-71")
        sizes |= {len(cohort.train), len(cohort.test)}
    for reply in grid.replies:
        assert [name for name in reply.content.config_records if name != "flame"] == []
        for record in reply.content.array_records.values():
            for array in record.values():
                assert not set(array.numpy().shape) & sizes


def test_an_adapted_run_reports_the_target(target_grid, target_data, tmp_path, monkeypatch) -> None:
    """The error on the target, formed from sums, is that of the saved clock; the sample of unknown age is not in it."""
    monkeypatch.setenv("FLAME_OUT", str(tmp_path / "run"))
    server_app.app(target_grid, context(target_grid.run_config))
    clocks, metadata = load_clocks(tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert list(clocks) == ["adapted", "elastic-net"]
    assert metadata["clocks"]["adapted"]["training"]["adapted"]
    errors = []
    for number in (1, 2, 3):
        target = load_store(target_data / f"DIZ-{number}" / "methylation", "gp-age-71").target.of_tissue("goal")
        known = target.with_age()
        errors.append(np.abs(clocks["adapted"].predict(known.betas[:, clocks["adapted"].columns]) - known.age))
    assert report["headline"][0]["value"] == f"{np.concatenate(errors).mean():.2f} years"
    assert report["tables"][0]["rows"][0][1] == sum(len(of_site) for of_site in errors)
    assert any(note.startswith("Adaptation: Most CpGs keep") for note in report["notes"])


@pytest.mark.parametrize("by", ["patients", "sites"])
def test_folds_of_diz_need_an_approved_run_config(grid, by) -> None:
    """A hub that names groups of DIZ by itself is refused; with folds-by = "sites" it is answered."""
    content = to_records({"reference": REFERENCE, "folds": {"folds": 2, "sites": [1, 2, 3, 4], "sizes": [2, 2]}})
    grid.run_config |= {"folds-by": by}
    message = Message(content, message_type="query.target", dst_node_id=1)
    if by == "patients":
        with pytest.raises(Exception, match="folds-by"):
            grid.send_and_receive([message])
    else:
        (reply,) = grid.send_and_receive([message])
        assert reply.content["sums"]["n"].numpy()[1] == 0


def test_a_refusing_diz_is_not_asked_to_train(grid, tmp_path, monkeypatch) -> None:
    """With two of three left and a minimum of two the run goes on, and nothing is sent to the third."""
    monkeypatch.setenv("FLAME_OUT", str(tmp_path / "run"))
    grid.denied = frozenset({2})
    grid.run_config |= {"min-nodes": 2, "model": "elastic-net"}
    server_app.app(grid, context(grid.run_config))
    assert {message.metadata.dst_node_id for message in grid.seen} == {1, 3}


def test_too_few_diz_end_the_run(grid, tmp_path, monkeypatch) -> None:
    """Below the minimum nothing is computed and nothing is written."""
    monkeypatch.setenv("FLAME_OUT", str(tmp_path / "run"))
    grid.denied = frozenset({2})
    with pytest.raises(NotEnoughNodes):
        server_app.app(grid, context(grid.run_config))
    assert grid.seen == []
    assert not (tmp_path / "run").exists()


def test_apply_gives_the_clock_s_ages(run, tables, tmp_path, capsys) -> None:
    """`apply` predicts for every sample of a table and says how many CpGs it found."""
    out = tmp_path / "ages.csv"
    arguments = ["--model", str(run / "model.json"), "--betas", str(tables[0]), "--out", str(out)]
    assert main(["apply", *arguments]) == 0
    rows = list(csv.DictReader(out.open()))
    truth = {row["sample_id"]: float(row["age"]) for row in csv.DictReader(tables[1].open())}
    errors = [abs(float(row["predicted_age"]) - truth[row["sample_id"]]) for row in rows]
    assert len(rows) == len(truth)
    assert np.mean(errors) < 10
    assert "CpGs are in betas.csv" in capsys.readouterr().out


def test_compare_finds_the_pooled_solution(run, data) -> None:
    """Federated and pooled elastic net agree, and a second call replaces the first one's entries."""
    arguments = ["compare", "--run", str(run), "--data", str(data)]
    assert main(arguments) == 0
    equality = json.loads((run / "compare.json").read_text())["equality"]
    assert equality["same_support"]
    assert equality["largest_relative_coefficient_difference"] < 1e-6
    assert equality["largest_prediction_difference_years"] < 1e-5
    first = json.loads((run / "report.json").read_text())
    assert main(arguments) == 0
    assert json.loads((run / "report.json").read_text()) == first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["prepare", "--out", "{tmp}/x", "--own", "{tmp}/no.csv", "{tmp}/no.csv"], "cannot be read"),
        (["prepare", "--out", "{tmp}/x", "--site-column", "hospital"], "--own"),
        (["compare", "--run", "{tmp}", "--data", "{tmp}"], "model.json"),
        (["apply", "--model", "{tmp}/none", "--betas", "b.csv", "--out", "o.csv"], "model.json"),
    ],
)
def test_bad_input_is_one_sentence(arguments, sentence, tmp_path, capsys) -> None:
    """Exit code 2, one line, no traceback; with --debug the error itself."""
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    assert main(filled) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    with pytest.raises(InputError):
        main([*filled, "--debug"])


def test_folds_are_those_of_the_run_config(grid) -> None:
    """Another number of folds is refused: sums over two divisions cross until they are about single patients."""
    content = to_records({"reference": REFERENCE, "folds": {"folds": 4}})
    with pytest.raises(Exception, match="number of folds"):
        grid.send_and_receive([Message(content, message_type="query.target", dst_node_id=1)])


def test_groups_of_diz_do_not_change_within_a_session(grid) -> None:
    """Two groupings cross until they are about one DIZ."""
    config = {**grid.run_config, "folds-by": "sites"}
    one = Context(1, 1, {"data-methylation": str(grid.stores[1])}, RecordDict(), config)
    for sites, fits in (([1, 2, 3, 4], True), ([1, 2, 3, 4], True), ([1, 3, 2, 4], False)):
        content = to_records({"reference": REFERENCE, "folds": {"folds": 2, "sites": sites, "sizes": [2, 2]}})
        message = Message(content, message_type="query.target", dst_node_id=1)
        if fits:
            assert client_app.app(message, one).has_content()
        else:
            with pytest.raises(Exception, match="changed within the run"):
                client_app.app(message, one)
