"""The ClientApp: its answers keep to the contract, its imports stay small, and the contract says what the code does."""

import re
import subprocess
import sys
import tomllib

import pytest
from flwr.app import Context, RecordDict
from gwas import client_app, server_app, site_ld, site_pca, site_ridge, site_score
from gwas.errors import InputError
from gwas.harmonise import CODES

from flame_fl.contract.secure_terms import flaw
from flame_fl.contract.terms import Terms
from flame_fl.flower.translate import to_content
from flame_fl.gate.release import check
from tests.use_cases.gwas.conftest import PYPROJECT, ClientGrid

WIDEST = 31
"""Columns of a design that the contract lets out."""

MOST_COUNTS = 2**18
"""In one minimum-count test."""


@pytest.fixture
def terms() -> Terms:
    return Terms.model_validate(tomllib.loads(PYPROJECT.read_text())["tool"]["flame"])


def _answers_keep_the_contract(grid, terms) -> set[str]:
    for asked, reply in zip(grid.seen, grid.replies, strict=True):
        check(to_content(RecordDict(dict(reply.content))), terms.messages[asked.metadata.message_type])
    return {asked.metadata.message_type.removeprefix("query.") for asked in grid.seen}


@pytest.mark.slow
def test_every_answer_of_a_linear_scan_is_what_the_contract_lets_out(run, small, terms):
    _, grid = run(small, "linear", pcs=2, mind=1.0)

    asked = _answers_keep_the_contract(grid, terms)
    assert asked == {
        *("gwas_variants", "gwas_samples", "gwas_counts", "gwas_sex"),
        *("gwas_centre", "gwas_moments", "gwas_ld", "gwas_pca", "gwas_linear"),
    }


@pytest.mark.slow
def test_nothing_as_long_as_a_diz_has_samples_leaves(run, small):
    """No array has a dimension of a DIZ's number of samples."""
    _, grid = run(small, "linear", pcs=2, mind=1.0)
    sizes = {reply.content.metric_records["metrics"]["num-examples"] for reply in grid.replies}

    assert len(sizes) == 5
    shapes = [
        array.numpy().shape
        for reply in grid.replies
        for record in reply.content.array_records.values()
        for array in record.values()
    ]
    assert shapes
    assert not {n for shape in shapes for n in shape} & sizes


def test_contract_and_code_state_the_same_numbers(terms, defaults):
    assert {f"query.{name}" for name in client_app.ANSWERS} == set(terms.messages)
    shapes = {
        (kind.removeprefix("query."), rule.name): rule.shape
        for kind, message in terms.messages.items()
        for rule in message.arrays
    }
    packed = WIDEST * (WIDEST + 1) // 2
    assert shapes["gwas_variants", "harmony"][1] == CODES
    assert shapes["gwas_moments", "zz"] == (1, f"<={packed}")
    assert shapes["gwas_linear", "mzz"][1] == f"<={packed}"
    assert shapes["gwas_logistic", "hessian"][1] == f"<={(WIDEST + 1) * (WIDEST + 2) // 2}"
    assert shapes["gwas_ld", "band"] == (f"<={site_ld.MOST_ROWS}", f"<={terms.run_config['ld-window'].max:.0f}")
    most = terms.run_config["pcs"].max + site_pca.EXTRA_COLUMNS
    assert shapes["gwas_pca", "product"] == (f"<={site_pca.MOST_VARIANTS}", f"<={most:.0f}")
    assert shapes["gwas_level1", "ww"][2] == f"<={site_ridge.MOST_COLUMNS * (site_ridge.MOST_COLUMNS + 1) // 2}"
    assert shapes["score_ld", "xx"][0] == f"<={site_score.MOST_LD}"
    assert shapes["score_moments", "xx"][0] == f"<={site_score.MOST_VARIANTS}"
    assert shapes["score_check", "ranks"] == (1, site_score.TENTHS, 2)
    assert terms.messages["query.score_check"].per_run == 1
    widest = terms.run_config["chunk"].max
    assert shapes["gwas_linear", "gy"] == (f"<={widest:.0f}",)
    assert defaults["chunk"] <= widest


def test_every_array_has_a_bound_and_a_kind_that_adds_up(terms):
    for message in terms.messages.values():
        assert all(rule.max_abs is not None for rule in message.arrays)
        assert {rule.kind for rule in message.arrays} <= {"sum", "count", "histogram"}
        assert all(metric.max is not None for metric in message.metrics)


def test_every_row_about_a_variant_is_guarded(terms):
    """Arrays with a row for each variant, or for each of the sums over few samples, leave by their carriers alone."""
    free = {
        "gwas_variants": {"harmony"},
        "gwas_samples": {"samples"},
        "gwas_sex": {"sex"},
        "gwas_pca": {"n", "spread"},
    }
    for kind, message in terms.messages.items():
        guards = {guard for rule in message.arrays for guard in (rule.guard, rule.guard_zero) if guard}
        open_ = {rule.name for rule in message.arrays if not (rule.guard or rule.guard_zero)} - guards
        assert open_ == free.get(kind.removeprefix("query."), set()), kind
        assert {f"sums/{name}" for name in guards} <= set(terms.secure_aggregation.min_total_of)


def test_minimum_counts_of_one_answer_can_be_tested(terms):
    for message in terms.messages.values():
        counts = 0
        for rule in message.arrays:
            if f"sums/{rule.name}" in terms.secure_aggregation.min_total_of:
                sizes = [int(str(length).removeprefix("<=")) for length in rule.shape]
                twice = any(rule.name == other.guard_zero for other in message.arrays)
                counts += (2 if twice else 1) * sizes[0] * (sizes[1] if len(sizes) > 1 else 1)
        assert counts <= MOST_COUNTS


def test_answers_leave_masked_by_default(terms, defaults):
    masks = terms.secure_aggregation

    assert masks.required
    assert (masks.dropouts, terms.federation.min_sites) == (2, 5)
    assert [flaw(n, d, 0) for n, d in ((5, 2), (4, 1), (3, 0))] == ["", "", ""]
    assert masks.min_total == defaults["min-carriers"]
    assert terms.disclosure.min_cell <= masks.min_total


def test_what_divides_patients_cannot_be_overridden(terms, defaults):
    """Sums over two sets of patients that differ by one are that one's."""
    dividing = {"mind", "missing", "phenotype", "cases", "covariates", "levels", "seed", "folds", "min-carriers"}
    assert dividing <= set(defaults)
    assert not dividing & set(terms.run_config)
    assert not {"coefficient-limit", "saturation", "firth", "panel", "pca-maf"} & set(terms.run_config)


def test_the_readme_s_overrides_are_approved(terms, defaults):
    """Whatever the README shows with -c is allowed to be set, and every key that may be set is one."""
    assert set(terms.run_config) <= set(defaults)
    shown = re.findall(r"-c '([^']+)'", (PYPROJECT.parent / "README.md").read_text())
    assert len(shown) >= 3
    for text in shown:
        for key, value in tomllib.loads("\n".join(re.split(r" (?=[a-z0-9-]+=)", text))).items():
            rule = terms.run_config[key]
            assert rule.one_of is None or value in rule.one_of
            assert rule.min is None or rule.min <= value <= rule.max


def test_imports_stay_small():
    """A sandbox that answers sums pays for neither pandas, matplotlib nor scipy, and knows no gate."""
    heavy = "{'pandas', 'torch', 'sklearn', 'matplotlib', 'scipy', 'bed_reader', 'pgenlib', 'cyvcf2', 'flame_fl', "
    heavy += "'flame_strategies'}"
    code = f"import sys, gwas.client_app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_panel_of_another_build_is_not_run(defaults, small, identity, monkeypatch, tmp_path):
    monkeypatch.setenv("FLAME_OUT", str(tmp_path))
    config = {**defaults, "build": "GRCh38"}
    grid = ClientGrid(small, config)
    with pytest.raises(InputError, match="is of made-up, and the run config says GRCh38"):
        server_app.app(grid, Context(1, 1, {}, RecordDict(), config))
    assert not grid.seen
