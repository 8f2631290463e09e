"""A run's story and its app's terms, made into the values a report is made from. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flame_fl.contract.fab import Fab
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.terms import Privacy, Scalar
from flame_fl.report.facts import NodeFacts, RunFacts, TermsFacts, installed_versions, refusal_facts
from flame_fl.researcher.story import NodeStory, Story

Status = Literal["finished", "failed", "interrupted"]
_STATUSES = {"approved", "pending", "rejected", "withdrawn", "expired"}
POLICY = "each DIZ's steward decides"
SANDBOX = "each DIZ's own"


@dataclass(frozen=True)
class Asked:
    """What was submitted."""

    fab: Fab
    manifest: Manifest
    overrides: Mapping[str, Scalar]
    command: str


def run_facts(
    asked: Asked, story: Story, *, status: Status, reason: str, started: datetime, ended: datetime
) -> RunFacts:
    """Everything that the hub's events say of a run."""
    privacy = Privacy() if asked.manifest.terms is None else asked.manifest.terms.privacy
    config = story.run_config or {**asked.manifest.run_config, **asked.overrides}
    return RunFacts(
        app=asked.fab.app_id,
        analysis_digest=asked.manifest.digest,
        fab_sha256=asked.fab.sha256,
        started=started,
        ended=ended,
        status=status,
        reason=reason,
        seed=story.seed,
        sandbox=SANDBOX,
        policy=", ".join(sorted({node.by for node in story.standings() if node.by and node.by != "steward"})) or POLICY,
        simulated=False,
        noise_seeded=False,
        command=asked.command,
        run_config={key: config[key] for key in sorted(config)},
        terms=TermsFacts(**privacy.model_dump(include=set(TermsFacts.model_fields))),
        nodes=tuple(_node(node, privacy) for node in story.standings()),
        rounds=story.rounds(),
        versions=installed_versions("flame-fl", "flwr"),
    )


def _node(node: NodeStory, privacy: Privacy) -> NodeFacts:
    refusals = node.refusals.copy()
    if node.code and not refusals[node.code]:
        refusals[node.code] += 1  # told when it was asked
    return NodeFacts(
        name=node.name,
        status=node.status if node.status in _STATUSES else "unknown",
        approved_by=node.by,
        refusals=refusal_facts(refusals),
        messages=node.messages,
        bytes_in=node.bytes_in,
        bytes_out=node.bytes_out,
        unit=privacy.unit,
        ground=privacy.ground,
        audit_head=node.audit_head,
        audit_verified=False,  # only a DIZ can check its own chain
    )
