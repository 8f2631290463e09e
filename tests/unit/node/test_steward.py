"""The steward's decisions: what they need, what they are stored as, and when they take effect."""

from datetime import date
from pathlib import Path

import pytest
import tomli_w

from flame_fl.contract.errors import InputError
from flame_fl.contract.places import Places
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.approval import Status
from flame_fl.gate.decisions import Wish
from flame_fl.gate.signatures import read_private_key
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Gate
from flame_fl.node.init import NODE_HELD
from flame_fl.node.steward import Request, approve_with_key, find, prepare, read_terms, reject
from flame_fl.node.wiring import Node, open_gate, open_node
from tests.support.gates import make_fab, manifest_from, terms_table
from tests.unit.node.conftest import IMAGE, change, cohort, offer
from tests.unit.node.decisions import LONG, ask, fab_of


def filed(gate: Gate, fab: bytes) -> str:
    """The digest of an analysis that was seen once."""
    assert ask(gate, fab, leg="first") is RefusalCode.PENDING_APPROVAL
    return manifest_from(fab).digest


def decide(gate: Gate, node: Node, word: str, terms: Path | None = None) -> Request:
    what = prepare(gate, word, None if terms is None else read_terms(terms))
    return approve_with_key(gate, what, read_private_key(node.files.steward_key), Wish("why"), with_project=True)


def written(tmp_path: Path, **changes: object) -> Path:
    """A steward's terms.toml."""
    path = tmp_path / "terms.toml"
    path.write_text(tomli_w.dumps(terms_table(validity=LONG, **changes)))
    return path


def test_what_a_list_shows(gate: Gate) -> None:
    """Who wants what, since when, and how often; of an app without terms, the way on."""
    with_terms, without = fab_of(limits={"runs": 7}), make_fab({}, name="plain")
    filed(gate, with_terms), filed(gate, without)
    first, second = [Request.of(r) for r in gate.store.approvals()]
    assert (first.app, first.status, first.project, first.title, first.runs_here) == (
        "someone/an-app", "pending", "a-project", "A title", "7",
    )  # fmt: skip
    assert (first.by, first.at[:4].isdigit()) == ("gate", True)
    assert (second.app, second.project, second.runs_here) == ("someone/plain", "", "")
    assert "--terms" in second.title


def test_what_is_over_cannot_be_approved(gate: Gate, node: Node) -> None:
    """By today's date."""
    fab = make_fab(terms_table(validity={"from": date(2020, 1, 1), "until": date(2020, 1, 2)}))
    digest = filed(gate, fab)
    with pytest.raises(InputError, match="2020-01-02"):
        decide(gate, node, digest)


def test_an_approval_takes_effect_in_a_running_gate_at_once(gate: Gate, node: Node) -> None:
    """The same gate, the same run: the next message is run. (The app of this bundle is none, so it fails: 905.)"""
    fab = fab_of()
    digest = filed(gate, fab)
    decided = decide(gate, node, digest[:12])
    assert (decided.status, decided.by, decided.digest) == ("approved", NODE_HELD, digest)
    assert ask(gate, fab, leg="2") is RefusalCode.SANDBOX_FAILED


def test_a_decision_by_another_process_takes_effect_at_once(gate: Gate, node: Node) -> None:
    """As `flame node approve` does it: another connection to the same state."""
    fab = fab_of()
    digest = filed(gate, fab)
    other = Store(node.files.database)
    decide(open_gate(node, other), node, digest)
    assert ask(gate, fab, leg="2") is RefusalCode.SANDBOX_FAILED
    reject(open_gate(node, other), digest, by="ada", comment="")
    other.close()
    assert ask(gate, fab, leg="3") is RefusalCode.WITHDRAWN_OR_EXPIRED


def test_a_decision_is_audited_with_user_and_comment(gate: Gate, node: Node) -> None:
    fab = fab_of()
    digest = filed(gate, fab)
    decide(gate, node, digest)
    (entry,) = [e["body"] for e, _ in gate.store.audit_rows() if e["kind"] == "approval-approved"]
    assert (entry["analysis"], entry["by"], entry["comment"]) == (digest, NODE_HELD, "why")
    assert gate.store.verify_audit()[0] > 0


def test_no_to_a_request_is_901_and_no_to_an_approval_is_907(gate: Gate, node: Node) -> None:
    """Rejected and withdrawn are told apart, and both can be taken back by an approval."""
    fab = fab_of()
    digest = filed(gate, fab)
    assert reject(gate, digest, by="ada", comment="").status == "rejected"
    assert ask(gate, fab, leg="2") is RefusalCode.NOT_APPROVED
    decide(gate, node, digest)
    assert reject(gate, digest, by="ada", comment="").status == "withdrawn"
    assert ask(gate, fab, leg="3") is RefusalCode.WITHDRAWN_OR_EXPIRED
    assert decide(gate, node, digest).status == "approved"


def test_a_withdrawn_analysis_that_is_rejected_again_is_not_pending(gate: Gate, node: Node) -> None:
    digest = filed(gate, fab_of())
    decide(gate, node, digest)
    reject(gate, digest, by="ada", comment="")
    assert reject(gate, digest, by="ada", comment="").status == "rejected"


@pytest.mark.parametrize(("word", "said"), [("abc", "too short"), ("", "too short"), ("z" * 12, "No analyses begin")])
def test_a_word_that_names_nothing(gate: Gate, word: str, said: str) -> None:
    filed(gate, fab_of())
    with pytest.raises(InputError, match=said) as err:
        find(gate, word)
    assert err.value.mend


def test_a_word_that_names_several_names_none(gate: Gate) -> None:
    """Six digits may fit two."""
    from dataclasses import replace

    filed(gate, fab_of())
    (record,) = gate.store.approvals()
    gate.store.put_approval(replace(record, analysis_digest=record.analysis_digest[:6] + "f" * 58))
    with pytest.raises(InputError, match="Several analyses begin"):
        find(gate, record.analysis_digest[:6])
    assert find(gate, record.analysis_digest) == record


def test_a_missing_store_names_the_command_that_adds_it(gate: Gate, node: Node) -> None:
    data = {"other": {"table": "t.parquet", "patient_id": "pid", "columns": ["*"], "min_patients": 10}}
    digest = filed(gate, fab_of(data=data))
    with pytest.raises(InputError, match="no data store 'other'") as err:
        decide(gate, node, digest)
    assert err.value.mend == "flame node data add other FOLDER --table t.parquet --patient-id pid"
    assert gate.store.approval(digest).status is Status.PENDING  # type: ignore[union-attr]


def test_a_missing_store_that_is_optional_stands_in_nothing_s_way(gate: Gate, node: Node) -> None:
    data = {"other": {"table": "t.parquet", "patient_id": "pid", "columns": ["*"], "optional": True}}
    digest = filed(gate, fab_of(data={**terms_table()["data"], **data}))
    assert decide(gate, node, digest).status == "approved"


def test_a_store_that_vanished_cannot_be_approved(gate: Gate, node: Node, tmp_path: Path) -> None:
    """Else an empty folder would be what is bound."""
    digest = filed(gate, fab_of())
    (tmp_path / "cohort").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"There is no folder"):
        decide(gate, node, digest)
    assert gate.store.approval(digest).status is Status.PENDING  # type: ignore[union-attr]


def test_a_condition_that_does_not_fit_is_said_before_it_is_approved(gate: Gate, node: Node) -> None:
    """Not with the first message of a run, as a refusal that nobody understands."""
    for where, said in (
        ({"column": "value", "op": "==", "value": "x"}, "condition on 'value'"),
        ({"column": "age", "op": "present"}, "no column 'age'"),
    ):
        stated = terms_table()["data"]["cohort"] | {"where": [where]}
        digest = filed(gate, fab_of(data={"cohort": stated}))
        with pytest.raises(InputError, match=said):
            decide(gate, node, digest)


def test_what_is_approved_is_the_version_of_now(gate: Gate, node: Node) -> None:
    """It is stored beside the binding: a refresh does not move an approval to other data."""
    digest = filed(gate, fab_of())
    decide(gate, node, digest)
    record = gate.store.approval(digest)
    assert record is not None
    assert dict(record.data) == {"cohort": node.data.registry.get("cohort").current.binding}
    reject(gate, digest, by="ada", comment="")
    assert gate.store.approval(digest).data == record.data  # type: ignore[union-attr]


def test_a_store_that_counts_by_another_column_is_not_approved(gate: Gate, node: Node, tmp_path: Path) -> None:
    data = {"cohort": {"table": "samples.parquet", "patient_id": "case", "columns": ["*"], "min_patients": 10}}
    digest = filed(gate, fab_of(data=data))
    with pytest.raises(
        InputError, match=r"samples\.parquet, patients 'patient_id'; the analysis states .* 'case'\."
    ) as err:
        decide(gate, node, digest)
    assert "Register the store so" in err.value.mend


@pytest.mark.parametrize("image", ["", IMAGE])
def test_a_docker_node_needs_an_image(places: Places, node: Node, tmp_path: Path, image: str) -> None:
    """Without one nothing could run; with one the approval binds its id."""
    change(places, 'kind = "subprocess"', 'kind = "docker"')
    change(places, f'default = "{IMAGE}"', f'default = "{image}"')
    docker = open_node(places)
    store = Store(docker.files.database)
    gate = open_gate(docker, store)
    try:
        digest = filed(gate, fab_of())
        if image:
            assert decide(gate, docker, digest).status == "approved"
            manifest = store.approval(digest).manifest  # type: ignore[union-attr]
            assert gate.binding(manifest.app, manifest.terms).sandbox == f"runc:{IMAGE}"
            return
        with pytest.raises(InputError, match="No image is configured for someone/an-app") as err:
            decide(gate, docker, digest)
        assert "flame node image build" in err.value.mend
    finally:
        store.close()


def test_an_app_without_terms_needs_the_stewards(gate: Gate, node: Node, tmp_path: Path) -> None:
    """902 at first; with terms that the steward wrote it runs, and the approval says whose they are."""
    fab = make_fab({}, name="plain")
    digest = filed(gate, fab)
    with pytest.raises(InputError, match="states no terms") as err:
        decide(gate, node, digest)
    assert "--terms" in err.value.mend
    assert decide(gate, node, digest, written(tmp_path, run_config={})).status == "approved"
    assert ask(gate, fab, leg="2") is RefusalCode.SANDBOX_FAILED
    record = gate.store.approval(digest)
    assert record is not None
    assert record.steward_terms is not None
    assert record.manifest.terms is None
    assert gate.binding(record.manifest.app, record.terms, record.steward_terms).digest == record.binding_digest
    assert gate.binding(record.manifest.app, record.terms).digest != record.binding_digest  # marked steward-written


def test_stewards_terms_stand_in_for_the_stated_ones(gate: Gate, node: Node, tmp_path: Path) -> None:
    """The bundle states two runs, the steward writes one; the second run is 908."""
    fab = fab_of()
    digest = filed(gate, fab)
    decide(gate, node, digest, written(tmp_path, limits={"runs": 1}))
    assert ask(gate, fab, leg="1", run_id=1) is RefusalCode.SANDBOX_FAILED
    assert ask(gate, fab, leg="1", run_id=2) is RefusalCode.TERMS_VIOLATED


def test_terms_that_name_another_store_are_checked_too(gate: Gate, node: Node, tmp_path: Path) -> None:
    data = {"other": {"table": "t.parquet", "patient_id": "pid", "columns": ["*"], "min_patients": 10}}
    digest = filed(gate, make_fab({}, name="plain"))
    with pytest.raises(InputError, match="no data store 'other'"):
        decide(gate, node, digest, written(tmp_path, data=data, run_config={}))


@pytest.mark.parametrize("text", ["= no toml", "schema = 1", "schema = 1\n[surprise]\nx = 1\n"])
def test_terms_that_are_none(tmp_path: Path, text: str) -> None:
    """The sentence says what is wrong with them."""
    path = tmp_path / "terms.toml"
    path.write_text(text)
    with pytest.raises(InputError):
        read_terms(path)


def test_terms_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.toml cannot be read"):
        read_terms(tmp_path / "missing.toml")


def test_more_than_a_sandbox_here_may_use_is_908(gate: Gate, node: Node, places: Places) -> None:
    """The DIZ's own bounds hold, whatever was approved."""
    fab = fab_of(resources={"memory_bytes": 9_000_000_000})
    decide(gate, node, filed(gate, fab))
    assert ask(gate, fab, leg="2") is RefusalCode.TERMS_VIOLATED


def test_data_registered_anew_with_the_same_content_need_no_new_approval(
    gate: Gate, node: Node, tmp_path: Path
) -> None:
    fab = fab_of()
    decide(gate, node, filed(gate, fab))
    offer(node, "cohort", cohort(tmp_path / "cohort"))
    assert ask(gate, fab, leg="2") is RefusalCode.SANDBOX_FAILED
