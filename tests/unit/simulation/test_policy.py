"""The virtual stewards' rules: what each approves, what it leaves alone, and which policy files are none."""

from dataclasses import replace
from pathlib import Path

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.contract.refusal import RefusalCode
from flame_fl.gate.approval import SIMULATION_POLICY, Status
from flame_fl.gate.workflow import NodeLimits
from flame_fl.simulation.policy import Approve, Policy, apply, load_policy
from tests.support.gates import World, make_fab, manifest_from, terms_table

FIRST = make_fab()
CHANGED = make_fab(files={"app/more.py": b"# one more file\n"})
OTHER_APP = make_fab(name="another-app")
WITHOUT_TERMS = make_fab({})


def policy(rule: Approve, *deny: str) -> Policy:
    return load_policy(rule.value, list(deny))


def decide(world: World, rule: Policy, *bundles: bytes) -> list[Status | None]:
    """What the rule made of each bundle in turn; None if it decided nothing."""
    decided = []
    for raw in bundles:
        manifest = manifest_from(raw)
        apply(rule, world.gate, manifest)
        record = world.store.approval(manifest.digest)
        decided.append(None if record is None else record.status)
    return decided


def test_first_seen_approves_the_first_version_of_an_app_only(world: World) -> None:
    """A changed app is another analysis: nothing is decided about it, so the gate answers 902."""
    assert decide(world, policy(Approve.FIRST_SEEN), FIRST, CHANGED) == [Status.APPROVED, None]
    assert world.code(CHANGED) is RefusalCode.PENDING_APPROVAL


def test_first_seen_counts_apps_one_by_one(world: World) -> None:
    """Another app's first version is a first version too."""
    assert decide(world, policy(Approve.FIRST_SEEN), FIRST, OTHER_APP) == [Status.APPROVED] * 2


def test_first_seen_takes_no_notice_of_what_only_waited(world: World) -> None:
    """A version that was filed but never decided about does not stand in the way of the next."""
    assert world.code(CHANGED) is RefusalCode.PENDING_APPROVAL
    assert decide(world, policy(Approve.FIRST_SEEN), FIRST) == [Status.APPROVED]


def test_first_seen_remembers_a_rejection(world: World) -> None:
    """After a rejected version the next one waits: it is a changed app as well."""
    decide(world, policy(Approve.FIRST_SEEN, "DIZ-1"), FIRST)
    assert decide(world, policy(Approve.FIRST_SEEN), CHANGED) == [None]


def test_stated_terms_approves_changed_apps(world: World) -> None:
    """Whatever states terms is approved on them."""
    assert decide(world, policy(Approve.STATED_TERMS), FIRST, CHANGED, OTHER_APP) == [Status.APPROVED] * 3


@pytest.mark.parametrize("rule", [Approve.FIRST_SEEN, Approve.STATED_TERMS, Approve.NOTHING])
def test_no_rule_but_open_simulation_approves_without_terms(world: World, rule: Approve) -> None:
    """What is not stated is not approved."""
    assert decide(world, policy(rule), WITHOUT_TERMS) == [None]


def test_open_simulation_says_so_in_the_audit_log(world: World) -> None:
    """An approval without terms is marked `unsafe_open` where it is stored and where it is audited."""
    decide(world, policy(Approve.OPEN_SIMULATION), WITHOUT_TERMS)
    record = world.store.approval(manifest_from(WITHOUT_TERMS).digest)
    assert record is not None
    assert record.unsafe_open
    kind, body = world.audit()[-1]
    assert (kind, body["unsafe_open"]) == ("approval-approved", True)


def test_open_simulation_approves_stated_terms_away(world: World) -> None:
    """Under it no terms hold, not even stated ones: a message type that is not listed is answered."""
    decide(world, policy(Approve.OPEN_SIMULATION), FIRST)
    assert world.code(FIRST, kind="query.unlisted") is None


def test_nothing_approves_nothing(world: World) -> None:
    """The gate files the request, and it stays so."""
    assert decide(world, policy(Approve.NOTHING), FIRST) == [None]
    assert world.code(FIRST) is RefusalCode.PENDING_APPROVAL
    assert decide(world, policy(Approve.NOTHING), FIRST) == [Status.PENDING]


def test_a_decision_is_audited_as_the_policys_own(world: World) -> None:
    """Nobody can take a virtual steward for a person."""
    decide(world, policy(Approve.FIRST_SEEN), FIRST)
    assert [body["by"] for kind, body in world.audit() if kind == "approval-approved"] == [SIMULATION_POLICY]
    assert [body["by"] for kind, body in world.audit() if kind == "project-approved"] == [SIMULATION_POLICY]


@pytest.mark.parametrize("status", [Status.APPROVED, Status.REJECTED, Status.WITHDRAWN])
@pytest.mark.parametrize("rule", list(Approve))
def test_a_decision_that_stands_is_left_alone(world: World, rule: Approve, status: Status) -> None:
    """What a steward decided before is not decided again, by any rule."""
    world.decide(FIRST, status)
    before = world.audit()
    decide(world, policy(rule), FIRST)
    assert world.audit() == before


def test_deny_rejects_what_was_approved(world: World) -> None:
    """A node named by --deny answers 901, whatever stood there before."""
    decide(world, policy(Approve.FIRST_SEEN), FIRST)
    assert decide(world, policy(Approve.FIRST_SEEN, "DIZ-1"), FIRST) == [Status.REJECTED]
    assert world.code(FIRST) is RefusalCode.NOT_APPROVED


def test_deny_rejects_once(world: World) -> None:
    """The same command again adds no second decision."""
    decide(world, policy(Approve.NOTHING, "DIZ-1"), FIRST)
    before = world.audit()
    decide(world, policy(Approve.NOTHING, "DIZ-1"), FIRST)
    assert world.audit() == before


def test_deny_of_another_node_changes_nothing_here(world: World) -> None:
    """--deny is about the nodes it names."""
    assert decide(world, policy(Approve.FIRST_SEEN, "DIZ-2"), FIRST) == [Status.APPROVED]


def test_an_expired_approval_is_not_renewed(world: World) -> None:
    """An analysis past its last day is approved no more by the rule that approved it."""
    raw = make_fab(terms_table())
    decide(world, policy(Approve.STATED_TERMS), raw)
    world.today = world.today.replace(year=2027)
    decide(world, policy(Approve.STATED_TERMS), raw)
    assert world.code(raw) is RefusalCode.WITHDRAWN_OR_EXPIRED


def test_no_policy_is_first_seen() -> None:
    """The default lets an app's first version run, on small published bounds. One's own data need no slots."""
    limits = NodeLimits(10.0, 1e-5, 5, max_block_sessions=64, fixed_slots=False)
    assert load_policy(None, []) == Policy(Approve.FIRST_SEEN, limits, frozenset(), "first-seen")


def test_a_file_states_rule_and_bounds(tmp_path: Path) -> None:
    """Everything the file says reaches the gates' limits."""
    file = tmp_path / "policy.toml"
    file.write_text('approve = "stated-terms"\nepsilon_cap = 3.0\ndelta = 1e-6\nmin_patients = 20\ndeny = ["DIZ-3"]\n')
    said = load_policy(str(file), ["DIZ-1"])
    limits = NodeLimits(3.0, 1e-6, 20, max_block_sessions=64, fixed_slots=False)
    assert (said.approve, said.limits) == (Approve.STATED_TERMS, limits)
    assert said.deny == {"DIZ-1", "DIZ-3"}


def test_an_edited_file_is_another_policy(tmp_path: Path) -> None:
    """A run is not resumed under rules that were changed in the file meanwhile."""
    file = tmp_path / "policy.toml"
    file.write_text("min_patients = 20\n")
    before = load_policy(str(file), []).stated
    file.write_text("min_patients = 1\n")
    assert load_policy(str(file), []).stated != before


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    """A setting that is not there has the value that it has without a file."""
    file = tmp_path / "policy.toml"
    file.touch()
    assert replace(load_policy(str(file), []), stated="first-seen") == load_policy(None, [])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("approve =", "not TOML"),
        ("\xff\xfe", "not TOML"),
        ('approve = "all"', "approve"),
        ("approve = 3", "approve"),
        ("epsilon_cap = 0.0", "epsilon_cap"),
        ("epsilon_cap = -1.0", "epsilon_cap"),
        ("epsilon_cap = inf", "epsilon_cap"),
        ("epsilon_cap = nan", "epsilon_cap"),
        ("delta = 1.0", "delta"),
        ("delta = 0.0", "delta"),
        ("min_patients = 0", "min_patients"),
        ("min_patients = 2.5", "min_patients"),
        ('deny = "DIZ-1"', "deny"),
        ("deny = [1]", "deny"),
        ("epsilon_caps = 1.0", "epsilon_caps"),
    ],
)
def test_a_bad_file_is_named_with_its_setting(tmp_path: Path, text: str, named: str) -> None:
    """No bound is guessed: the sentence says which setting is wrong."""
    file = tmp_path / "policy.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=named) as raised:
        load_policy(str(file), [])
    assert str(file) in raised.value.message


@pytest.mark.parametrize("stated", ["First-Seen", "everything", "no/such/file.toml", "", "."])
def test_neither_a_rule_nor_a_file_is_told_the_rules(stated: str) -> None:
    """A misspelt rule is no rule, and the mend lists those that are."""
    with pytest.raises(InputError, match="neither a rule nor a file") as raised:
        load_policy(stated, [])
    assert all(rule.value in raised.value.mend for rule in Approve)
