"""Rules of `node.toml` that approve in the stewards' place. Written by the node's administrator, marked everywhere.

A rule's decision is signed by the node's own key and names the rule and its hash: a rule that is changed or taken out
takes what it approved with it. A project is a matter for people: only the DEMO rule approves one.
"""

from datetime import date

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.canonical import digest
from flame_fl.contract.errors import FlameError
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.refusal import RefusedError
from flame_fl.contract.statement import project_digest
from flame_fl.contract.task import Run
from flame_fl.contract.terms import Privacy
from flame_fl.gate.approval import DEMO_POLICY, Status, check_project
from flame_fl.gate.decisions import approve_by_rule
from flame_fl.gate.workflow import Gate
from flame_fl.node.config import NodeConfig, RuleSection


def rules_of(config: NodeConfig) -> dict[str, str]:
    """Digests of the rules that stand, by name."""
    found = {rule.name: digest(rule.model_dump(mode="json")) for rule in config.approval.rules}
    if config.demo.approve_content:
        found[DEMO_POLICY] = digest(config.demo.model_dump(mode="json"))
    return found


def rule_for(rules: tuple[RuleSection, ...], manifest: Manifest, today: date) -> RuleSection | None:
    """The first rule that an analysis fulfils."""
    return next((rule for rule in rules if fulfils(rule, manifest, today)), None)


def fulfils(rule: RuleSection, manifest: Manifest, today: date) -> bool:
    """Whether all that a rule states holds."""
    terms = manifest.terms
    if terms is None or today > rule.until:
        return False
    privacy = terms.privacy
    return (
        (not rule.projects or terms.project.id in rule.projects)
        and (not rule.contents or manifest.fab_content_sha256 in rule.contents)
        and (not rule.grounds or privacy.ground in rule.grounds)
        and (rule.data_stores is None or set(terms.data) <= set(rule.data_stores))
        and (rule.max_epsilon is None or _epsilon(privacy) <= rule.max_epsilon)
        and (rule.max_runs is None or terms.limits.runs <= rule.max_runs)
    )


def _epsilon(privacy: Privacy) -> float:
    """What is enforced; a figure that nothing enforces bounds nothing."""
    return privacy.epsilon_max if privacy.ground == "enforced" and privacy.epsilon_max is not None else float("inf")


def decide_by_rules(gate: Gate, run: Run, config: NodeConfig, key: Ed25519PrivateKey) -> str | None:
    """Approve an analysis at first sight if a rule says so. Returns the rule's name if one did."""
    if not config.approval.rules and not config.demo.approve_content:
        return None
    try:
        manifest = gate.manifest(run)
    except RefusedError:
        return None  # the gate will say so itself
    known = gate.store.approval(manifest.digest)
    if manifest.terms is None or (known is not None and known.status is not Status.PENDING):
        return None
    name, comment, until = _decides(gate, manifest, config)
    if name is None:
        return None
    try:
        gate.file(manifest, run)
        approve_by_rule(
            gate.store,
            gate.trust(),
            key,
            manifest,
            gate.binding(manifest.app, manifest.terms),
            rule=name,
            comment=comment,
            today=gate.today(),
            until=until,
            with_project=name == DEMO_POLICY,
        )
    except FlameError:
        return None
    return name


def _decides(gate: Gate, manifest: Manifest, config: NodeConfig) -> tuple[str | None, str, date | None]:
    if manifest.fab_content_sha256 in config.demo.approve_content:
        return DEMO_POLICY, "demonstration: approved by content hash, by no person", None
    rule = rule_for(config.approval.rules, manifest, gate.today())
    if rule is None or manifest.terms is None:
        return None, "", None
    try:
        project = gate.store.project(project_digest(manifest.terms.project))
        check_project(project, gate.today(), gate.trust())
    except RefusedError:
        return None, "", None  # people have not approved the project
    return rule.name, "approved by a rule in node.toml, by no person", rule.until
