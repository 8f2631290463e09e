"""The ClientApp: its imports stay small, the contract says what the code does, and the README what is allowed."""

import re
import subprocess
import sys
import tomllib

import pytest
from flwr.app import RecordDict
from multimodal_imaging import client_app

from flame_fl.contract.secure_terms import flaw
from flame_fl.contract.terms import Terms
from flame_fl.flower.translate import to_content
from flame_fl.gate.release import check
from tests.use_cases.multimodal_imaging.made import PYPROJECT


@pytest.fixture
def terms() -> Terms:
    return Terms.model_validate(tomllib.loads(PYPROJECT.read_text())["tool"]["flame"])


@pytest.mark.parametrize("analysis", ["fusion"])
def test_every_answer_is_what_the_contract_lets_out(run, terms, analysis):
    """Each reply has exactly the arrays and metrics of [tool.flame], within their shapes and bounds."""
    _, grid = run(analysis)

    counts: dict[str, int] = {}
    for asked, reply in zip(grid.seen, grid.replies, strict=True):
        kind = asked.metadata.message_type
        check(to_content(RecordDict(dict(reply.content))), terms.messages[kind])
        counts[kind] = counts.get(kind, 0) + 1
    assert counts["query.mm_counts"] == 5
    # two DIZ may be lost, and the fit begun anew each time
    assert {kind: n for kind, n in counts.items() if 3 * n / 5 > terms.messages[kind].per_run} == {}


def test_contract_and_code_state_the_same_messages(terms):
    assert {f"query.{name}" for name in client_app.ANSWERS} | {"train"} == set(terms.messages)


def test_every_array_has_a_bound_and_a_kind_that_adds_up(terms):
    for kind, message in terms.messages.items():
        assert all(rule.max_abs is not None for rule in message.arrays), kind
        if kind != "train":
            assert {rule.kind for rule in message.arrays} <= {"sum", "count", "histogram"}, kind
        assert all(metric.max is not None for metric in message.metrics), kind


def test_answers_leave_masked_and_a_diz_may_lack_images(terms):
    masks = terms.secure_aggregation
    assert masks.required
    assert (masks.dropouts, terms.federation.min_sites) == (2, 5)
    assert [flaw(n, d, 0) for n, d in ((5, 2), (4, 1), (3, 0))] == ["", "", ""]  # what the comment there offers
    assert terms.data["images"].optional
    assert not terms.data["patients"].optional


def test_whoever_divides_patients_is_not_the_submitter(terms, defaults):
    """No key that says which patients, columns, modalities or regions are meant may be set without an approval."""
    assert set(terms.run_config) <= set(defaults)
    fixed = {"validation", "folds", "site-groups", "seed", "calibration", "outcome", "modalities", "phenome", "levels"}
    fixed |= {"images", "pictures", "panel", "regions", "grid", "centre", "covariates", "event", "times", "task"}
    assert not fixed & set(terms.run_config)


def test_the_readme_s_overrides_are_approved(terms):
    shown = re.findall(r"-c '([^']+)'", (PYPROJECT.parent / "README.md").read_text())
    assert len(shown) >= 3
    for text in shown:
        for key, value in tomllib.loads("\n".join(re.split(r" (?=[a-z-]+=)", text))).items():
            rule = terms.run_config[key]
            assert rule.one_of is None or value in rule.one_of
            assert rule.min is None or rule.min <= value <= rule.max


def test_imports_stay_small():
    """A sandbox that answers sums pays for neither pandas, torch nor matplotlib, and knows no gate."""
    heavy = "{'pandas', 'torch', 'sklearn', 'matplotlib', 'scipy', 'nibabel', 'PIL', 'pydicom'}"
    gate = "{'flame_fl', 'flame_strategies'}"
    code = f"import sys, multimodal_imaging.client_app; print(sorted(({heavy} | {gate}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
