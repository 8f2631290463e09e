"""The ClientApp: its answers keep to the contract, its imports stay small, and the contract says what the code does."""

import re
import subprocess
import sys
import tomllib

import pytest
from flwr.app import ConfigRecord, Context, RecordDict
from gene_expression import client_app
from gene_expression.differential_run import GENES_PER_MESSAGE

from flame_fl.contract.secure_terms import flaw
from flame_fl.contract.terms import Terms
from flame_fl.flower.translate import to_content
from flame_fl.gate.release import check
from tests.use_cases.gene_expression.conftest import PYPROJECT


@pytest.fixture
def terms() -> Terms:
    return Terms.model_validate(tomllib.loads(PYPROJECT.read_text())["tool"]["flame"])


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("synthetic-microarray", {"de_design", "de_products", "de_residuals"}),
        (
            "synthetic-rnaseq",
            {"scale_genes", "scale_ranks", "de_design", "scale_above", "scale_factors"}
            | {"de_products", "de_residuals", "de_weighted"},
        ),
    ],
)
def test_every_answer_is_what_the_contract_lets_out(run, terms, name, kinds):
    """All queries of a differential analysis answer with exactly the arrays and metrics of [tool.flame]."""
    _, grid = run(name, "differential")

    counts: dict[str, int] = {}
    for asked, reply in zip(grid.seen, grid.replies, strict=True):
        kind = asked.metadata.message_type
        check(to_content(RecordDict(dict(reply.content))), terms.messages[kind])
        counts[kind] = counts.get(kind, 0) + 1
    assert {kind.removeprefix("query.") for kind in counts} == kinds
    # two DIZ may be lost, and the fit begun anew each time
    assert {kind: n for kind, n in counts.items() if 3 * n / 5 > terms.messages[kind].per_run} == {}


def test_nothing_as_long_as_a_diz_has_samples_leaves(run, prepared):
    """No array has a dimension of a DIZ's number of samples, and no answer more numbers than genes x columns."""
    _, grid = run("synthetic-microarray", "differential")

    sizes = {32, 40, 48, 56, 64}
    shapes = [
        array.numpy().shape
        for reply in grid.replies
        for record in reply.content.array_records.values()
        for array in record.values()
    ]
    assert len(shapes) == 5 * (5 + 6 + 2)
    assert not {n for shape in shapes for n in shape} & sizes


def test_contract_and_code_state_the_same_numbers(terms):
    assert {f"query.{name}" for name in client_app.ANSWERS} | {"train"} == set(terms.messages)
    for kind in ("query.de_products", "query.de_residuals", "query.de_weighted", "query.scale_genes"):
        longest = [rule.shape[0] for rule in terms.messages[kind].arrays if rule.shape[0] != 1]
        assert f"<={GENES_PER_MESSAGE}" in longest


def test_every_array_has_a_bound_and_a_kind_that_adds_up(terms):
    for kind, message in terms.messages.items():
        assert all(rule.max_abs is not None for rule in message.arrays)
        kinds = {rule.kind for rule in message.arrays}
        assert kinds <= ({"model"} if kind == "train" else {"sum", "count", "histogram"})
        assert all(metric.max is not None for metric in message.metrics)


def test_answers_leave_masked_by_default(terms):
    masks = terms.secure_aggregation

    assert masks.required
    assert (masks.dropouts, terms.federation.min_sites) == (2, 5)
    assert [flaw(n, d, 0) for n, d in ((5, 2), (4, 1), (3, 0))] == ["", "", ""]  # what the comment there offers


def test_the_readme_s_overrides_are_approved(terms, defaults):
    """Whatever the README shows with -c is allowed to be set, and every key that may be set is one."""
    assert set(terms.run_config) <= set(defaults)
    shown = re.findall(r"-c '([^']+)'", (PYPROJECT.parent / "README.md").read_text())
    assert len(shown) >= 3
    for text in shown:
        for key, value in tomllib.loads("\n".join(re.split(r" (?=[a-z-]+=)", text))).items():
            rule = terms.run_config[key]
            assert rule.one_of is None or value in rule.one_of
            assert rule.min is None or rule.min <= value <= rule.max


def test_imports_stay_small():
    """A sandbox that answers sums pays for neither pandas, torch nor matplotlib, and knows no gate."""
    heavy = "{'pandas', 'torch', 'sklearn', 'matplotlib', 'scipy', 'anndata', 'flame_fl', 'flame_strategies'}"
    code = f"import sys, gene_expression.client_app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_validation_that_was_approved_goes_with_every_question(run):
    """The hub can neither leave it out nor state another."""
    seen = []

    def spy(table, request):
        seen.append((request.config["approved_validation"], table.node))
        return client_app.ANSWERS["de_design"](table, request)

    _, grid = run("synthetic-microarray", "differential")
    message = next(m for m in grid.seen if m.metadata.message_type == "query.de_design")
    message.content["more"] = ConfigRecord({"approved_validation": "sites"})
    config = {"data-expression": str(grid.data / "DIZ-2" / "expression")}
    client_app._handler(spy)(message, Context(1, 2, config, RecordDict(), dict(grid.run_config)))
    del message.content["more"]
    assert seen == [("patients", 2)]
