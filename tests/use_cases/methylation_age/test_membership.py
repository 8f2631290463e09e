"""Scores for membership inference: who is scored, what is found where there is something, and that no id is in it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from methylation_age import clock as clocks
from methylation_age import membership, mlp, prepare
from methylation_age.errors import InputError

from flame_fl.privacy.membership import measure
from flame_fl.simulation.membership import read_scores

PANEL = "gp-age-71"
MakeUp = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def federation(folder: Path, made_up: MakeUp, *, patients: int = 60, nodes: int = 2) -> Path:
    """Data of some DIZ, two samples per patient, ages that betas say nothing of: whoever fits them has memorised."""
    betas, sheet = made_up(2 * patients, 3)
    rng = np.random.default_rng(4)
    sheet["age"] = np.repeat(rng.uniform(20, 80, patients), 2)
    betas.iloc[:, :] = rng.uniform(0.2, 0.8, betas.shape)
    sheet["split"] = np.repeat(np.where(rng.random(patients) < 0.5, "train", "test"), 2)
    betas.to_csv(folder / "betas.csv")
    sheet.to_csv(folder / "samples.csv", index=False)
    data = folder / "data"
    prepare.prepare_own(data, folder / "betas.csv", folder / "samples.csv", site_column=None, nodes=nodes, seed=0)
    return data


def run_on(data: Path, folder: Path, *, rounds: int, epochs: int) -> Path:
    """A run's folder with a network that was trained by the run's own recipe on those who were not held out."""
    recipe = mlp.Recipe(hidden=32, epochs=epochs, batch_size=16, learning_rate=1e-2, weight_decay=0.0, dropout=0.0)
    columns = np.arange(71, dtype=np.intp)
    values = {k: getattr(recipe, k) for k in recipe.__dataclass_fields__}
    start = clocks.MlpClock(
        columns, np.full(71, 0.5), np.full(71, 0.2), 1.0, 0.7, mlp.initial_weights(71, recipe, 1), values
    )
    rows, _ = membership._rows(data, PANEL, start)
    arrays = membership._federated(rows, rows.member, start, rounds, seed=9)
    trained = clocks.MlpClock(columns, start.centre, start.scale, start.y_centre, start.y_scale, arrays, values)
    folder.mkdir()
    clocks.save_clocks(folder, {clocks.MLP: trained}, PANEL, {clocks.MLP: {"rounds": rounds}})
    return folder


def test_a_network_that_memorised_is_found_out_and_one_that_did_not_is_not(tmp_path: Path, made_up: MakeUp) -> None:
    """Random ages, one DIZ: after 80 epochs members are fitted; a network that was never trained tells nothing.

    Seeds are fixed.
    """
    data = federation(tmp_path, made_up, nodes=1)
    areas = {}
    for name, rounds, epochs in (("learnt", 1, 80), ("untrained", 0, 1)):
        run = run_on(data, tmp_path / name, rounds=rounds, epochs=epochs)
        scores = read_scores(membership.membership(run, data, shadows=4)).attacks
        assert {sum(map(len, both)) for both in scores.values()} == {60}
        areas[name] = {attack: measure(*both).auroc_interval for attack, both in scores.items()}
    for attack in ("loss", "likelihood-ratio"):
        assert areas["learnt"][attack][0] > 0.9
        low, high = areas["untrained"][attack]
        assert low < 0.6
        assert high > 0.4


def test_the_table_names_sites_and_nobody_else(tmp_path: Path, made_up: MakeUp) -> None:
    data = federation(tmp_path, made_up, patients=20)
    run = run_on(data, tmp_path / "run", rounds=1, epochs=1)
    table = membership.membership(run, data, out=tmp_path / "scores.csv", shadows=0)
    text = pd.read_csv(table)
    assert list(text.columns) == ["site", "member", "loss"]
    assert set(text["site"]) == {"DIZ-1", "DIZ-2"}
    assert len(text) == 20
    again = membership.membership(run, data, out=tmp_path / "again.csv", shadows=0)
    assert again.read_bytes() == table.read_bytes()


def test_what_cannot_be_scored_is_told(tmp_path: Path, made_up: MakeUp) -> None:
    data = federation(tmp_path, made_up, patients=20)
    run = run_on(data, tmp_path / "run", rounds=1, epochs=1)
    with pytest.raises(InputError, match="even number"):
        membership.membership(run, data, shadows=3)
    with pytest.raises(InputError, match="prepare"):
        membership.membership(run, tmp_path, shadows=0)
    with pytest.raises(InputError, match="not there"):
        membership.membership(tmp_path, data, shadows=0)
    with pytest.raises(InputError, match="--out"):
        membership.membership(run, data, out=tmp_path, shadows=0)
