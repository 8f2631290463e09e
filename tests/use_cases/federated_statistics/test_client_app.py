"""The ClientApp: its answers keep to the contract, its imports stay small, its errors name no patient."""

import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from federated_statistics import client_app
from federated_statistics.analyses import POINTS
from federated_statistics.models import COLUMNS_PER_REQUEST, POINTS_PER_REQUEST
from flwr.app import RecordDict

from flame_fl.contract.terms import Terms
from flame_fl.flower.translate import to_content
from flame_fl.gate.release import check
from tests.use_cases.federated_statistics.conftest import PYPROJECT

RUNS = [
    ("lung", "summary", {}),
    ("lung", "histogram", {}),
    ("lung", "crosstab", {}),
    ("lung", "quantiles", {}),
    ("lung", "correlation", {"rows": "pairwise"}),
    ("diabetes", "pca", {}),
    ("diabetes", "linear", {"robust": True}),
    ("diabetes", "elastic-net", {}),
    ("breast-cancer", "elastic-net", {"columns": "mean_texture,mean_symmetry", "penalties": 5}),
    ("lung", "cox", {}),
    ("lung", "cox", {"columns": "age", "categories": "sex", "grid": "20:1100:20"}),
    ("lung", "cox", {"strata_by_site": True}),
]


@pytest.fixture
def terms() -> Terms:
    return Terms.model_validate(tomllib.loads(PYPROJECT.read_text())["tool"]["flame"])


def test_every_answer_is_what_the_contract_lets_out(run, terms):
    """All queries answer with exactly the arrays and metrics of [tool.flame]."""
    kinds: dict[str, int] = {}
    for name, analysis, more in RUNS:
        _, grid = run(name, analysis, **more)
        for asked, reply in zip(grid.seen, grid.replies, strict=True):
            kind = asked.metadata.message_type
            check(to_content(RecordDict(dict(reply.content))), terms.messages[kind])
            kinds[kind] = max(kinds.get(kind, 0), sum(m.metadata.message_type == kind for m in grid.seen) // 5)
    # Efron's ties always occur in these sets: the query without them is the same function
    assert set(kinds) == set(terms.messages) - {"query.cox_step"}
    assert {kind: n for kind, n in kinds.items() if n > terms.messages[kind].per_run} == {}


def test_contract_and_code_state_the_same_numbers(terms):
    assert {f"query.{name}" for name in client_app.ANSWERS} == set(terms.messages)
    assert terms.messages["query.en_columns"].arrays[0].shape[2] == f"<={COLUMNS_PER_REQUEST}"
    points = {rule.name: rule.shape for rule in terms.messages["query.glm_path"].arrays}
    assert points["gradient"][0] == points["hessian"][0] == f"<={POINTS_PER_REQUEST}"
    thresholds = terms.messages["query.ranks"].arrays[0].shape[1]
    assert thresholds == f"<={20 * POINTS}"  # ten probabilities, each between two values


def test_every_array_has_a_bound_and_a_kind_that_adds_up(terms):
    rules = [rule for message in terms.messages.values() for rule in message.arrays]
    assert all(rule.max_abs is not None for rule in rules)
    assert {rule.kind for rule in rules} == {"sum", "count", "histogram"}
    assert all(metric.max is not None for message in terms.messages.values() for metric in message.metrics)


def test_presets_fit_the_overrides_that_are_approved(terms, defaults):
    """Whatever the README shows with -c is allowed to be set."""
    assert set(terms.run_config) <= set(defaults)
    shown = re.findall(r"-c '([^']+)'", (PYPROJECT.parent / "README.md").read_text())
    assert len(shown) >= 3
    for text in shown:
        for key, value in tomllib.loads("\n".join(re.split(r" (?=[a-z-]+=)", text))).items():
            rule = terms.run_config[key]
            assert rule.one_of is None or value in rule.one_of


def test_imports_stay_small():
    """A sandbox that answers sums pays for neither pandas, scikit-learn nor matplotlib, and knows no gate."""
    heavy = "{'pandas', 'sklearn', 'matplotlib', 'scipy', 'statsmodels', 'lifelines', 'flame_fl', 'flame_strategies'}"
    code = f"import sys, federated_statistics.client_app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_answer_does_not_depend_on_how_rows_are_ordered(run, prepared):
    """Sums of counts to the bit, of numbers to rounding."""
    import pandas as pd
    from federated_statistics.site_statistics import cross, ranks
    from federated_statistics.store import parse_levels, table_of
    from federated_statistics.table import Request

    frame = pd.read_parquet(prepared("lung") / "DIZ-1" / "cohort" / "table.parquet")
    levels = parse_levels("sex=male|female")
    tables = [table_of(_arrow(f), levels) for f in (frame, frame.iloc[::-1])]
    ask = {"columns": ["age", "wt_loss"]}
    at = Request(ask, {"thresholds": np.array([[50.0, 60, 70], [0, 5, 10]])})
    np.testing.assert_array_equal(ranks(tables[0], at)["at_most"], ranks(tables[1], at)["at_most"])
    centred = Request(ask, {"centre": np.array([60.0, 5]), "scale": np.array([10.0, 5])})
    np.testing.assert_allclose(cross(tables[0], centred)["gram"], cross(tables[1], centred)["gram"], rtol=1e-12)


def _arrow(frame):
    import pyarrow as pa

    return pa.Table.from_pandas(frame, preserve_index=False)
