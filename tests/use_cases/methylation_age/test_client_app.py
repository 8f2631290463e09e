"""The ClientApp: its answers keep to the contract, its imports stay small, its errors name no patient."""

import subprocess
import sys
import tomllib
from pathlib import Path

import methylation_age
import numpy as np
import pytest
from flwr.app import RecordDict
from methylation_age import client_app, mlp, server_app, site_adaptation
from methylation_age.cohort import load_store
from methylation_age.elastic_net_run import COLUMNS_PER_REQUEST
from methylation_age.errors import InputError

from flame_fl.contract.terms import Terms
from flame_fl.flower.translate import to_content
from flame_fl.gate.release import check

PYPROJECT = Path(methylation_age.__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def terms() -> Terms:
    return Terms.model_validate(tomllib.loads(PYPROJECT.read_text())["tool"]["flame"])


def test_every_answer_is_what_the_contract_lets_out(grid, target_grid, terms, tmp_path, monkeypatch) -> None:
    """All message types answer with exactly the arrays and metrics of [tool.flame]."""
    monkeypatch.setenv("FLAME_OUT", str(tmp_path / "out"))
    defaults = tomllib.loads(PYPROJECT.read_text())["tool"]["flwr"]["app"]["config"]
    widths = {key: defaults[key] for key in ("mlp-hidden",)}
    grid.run_config |= widths
    server_app.app(grid, context(grid.run_config))
    server_app.app(target_grid, context(target_grid.run_config))
    kinds = set()
    seen, replies = [*grid.seen, *target_grid.seen], [*grid.replies, *target_grid.replies]
    for asked, reply in zip(seen, replies, strict=True):
        kind = asked.metadata.message_type
        content = RecordDict({name: record for name, record in reply.content.items() if name != "flame"})
        rules = terms.messages[kind]
        if kind == "train":  # the fixture's panel has fewer CpGs than the contract's 256 inputs
            raw = [rule.model_dump() for rule in rules.arrays]
            raw[0]["shape"] = (32, grid.run_config["mlp-inputs"])
            rules = rules.model_validate({**rules.model_dump(), "arrays": raw})
        check(to_content(content), rules)
        kinds.add(kind)
    assert kinds == set(terms.messages)


def context(run_config):
    from flwr.app import Context

    return Context(1, 1, {}, RecordDict(), dict(run_config))


def test_contract_and_code_state_the_same_numbers(terms) -> None:
    """The shapes in [tool.flame] are those of the default network and of a request for columns."""
    config = tomllib.loads(PYPROJECT.read_text())["tool"]["flwr"]["app"]["config"]
    weights = mlp.initial_weights(config["mlp-inputs"], mlp.Recipe.from_config(config), seed=0)
    stated = {rule.name: rule for rule in terms.messages["train"].arrays}
    assert {name: (array.shape, array.dtype.name) for name, array in weights.items()} == {
        name: (rule.shape, rule.dtype) for name, rule in stated.items()
    }
    assert terms.messages["query.columns"].arrays[0].shape[2] == f"<={COLUMNS_PER_REQUEST}"
    assert terms.messages["query.sketch"].arrays[0].shape[1] == f"<={site_adaptation.MOST_COLUMNS}"
    assert terms.messages["query.moments"].per_run == client_app.MOST_REFERENCES
    assert terms.messages["train"].per_run == config["rounds"]


def test_imports_stay_small() -> None:
    """A sandbox that answers sums pays for neither torch, pandas, scikit-learn nor matplotlib, and knows no gate."""
    heavy = "{'torch', 'pandas', 'sklearn', 'matplotlib', 'scipy', 'flame_fl', 'flame_strategies'}"
    code = f"import sys, methylation_age.client_app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_store_is_read_in_panel_order(data) -> None:
    """Columns follow the panel whatever the file's order; the split parts the rows."""
    import pandas as pd

    folder = data / "DIZ-1" / "methylation"
    before = load_store(folder, "gp-age-71")
    betas = pd.read_parquet(folder / "betas.parquet")
    betas[betas.columns[::-1]].iloc[::-1].to_parquet(folder / "betas.parquet")
    after = load_store(folder, "gp-age-71")
    np.testing.assert_array_equal(before.train.betas, after.train.betas)
    assert len(before.train) + len(before.test) == len(betas)


def test_a_cpg_that_was_not_measured_is_missing(data) -> None:
    """A DIZ may lack CpGs of the panel; their columns are NaN."""
    import pandas as pd

    folder = data / "DIZ-1" / "methylation"
    betas = pd.read_parquet(folder / "betas.parquet").drop(columns="cg16867657")
    betas.to_parquet(folder / "betas.parquet")
    assert np.isnan(load_store(folder, "gp-age-71").train.betas[:, 0]).all()


def test_a_view_with_fewer_patients_is_followed(data) -> None:
    """The samples table decides: rows cut from it are not read, though their betas are there."""
    import pandas as pd

    folder = data / "DIZ-1" / "methylation"
    samples = pd.read_parquet(folder / "samples.parquet").iloc[5:]
    samples.to_parquet(folder / "samples.parquet")
    store = load_store(folder, "gp-age-71")
    assert len(store.train) + len(store.test) == len(samples)


@pytest.mark.parametrize("panel", ["absent", "../pyproject", ""])
def test_an_unknown_panel_is_named(data, panel) -> None:
    """The sentence lists the panels there are."""
    with pytest.raises(InputError, match="gp-age-71"):
        load_store(data / "DIZ-1" / "methylation", panel)
