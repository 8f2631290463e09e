"""What a steward signs: one decision of one DIZ about one project or analysis, in full, as canonical JSON.

Everything that the decision depends on is in it, so that a signature cannot be moved: to another node, project,
analysis or binding, past a withdrawal, or past its last day.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from flame_fl.contract.canonical import canonical_json, digest
from flame_fl.contract.errors import InputError
from flame_fl.contract.terms import Project
from flame_fl.contract.words import Frozen

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
MaybeSha256 = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
_MAX_CHARS = 32_768


class Statement(Frozen):
    """One decision. `ssh-keygen -Y sign -n flame-approval` signs `text`, byte for byte."""

    statement_version: Literal[1] = 1
    act: Literal["approve", "reject", "withdraw"]
    """What is decided."""
    subject: Literal["project", "analysis"]
    """About what."""
    node: Annotated[str, StringConstraints(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]
    """Fingerprint of the node's identity key: a decision of one DIZ is none of another."""
    project: Annotated[str, StringConstraints(max_length=64)]
    """The project's id; empty for an app that states no terms (simulations only)."""
    digest: Sha256
    """Digest of the project, or the analysis digest."""
    binding: Sha256
    """What only this node knows: the roster of a project; sandbox, data, participants and terms of an analysis."""
    number: Annotated[int, Field(ge=0, le=1_000_000)]
    """How often this was rejected or withdrawn here before: a withdrawn approval cannot be shown again."""
    sheet: MaybeSha256 = ""
    """Hash of the sheet that was shown; empty where a rule decided."""
    rule: Annotated[str, StringConstraints(max_length=200)] = ""
    """Name of the rule that decided; empty for a person."""
    rule_digest: MaybeSha256 = ""
    """Hash of the rule as it was written."""
    at: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")]
    """When it was written (UTC)."""
    until: date
    """Last day (UTC)."""
    comment: Annotated[str, StringConstraints(max_length=2000)] = ""
    """Why."""

    @property
    def text(self) -> bytes:
        """The bytes that are signed."""
        return canonical_json(self.model_dump(mode="json"))


def parse_statement(text: bytes | str) -> Statement:
    """A statement from its text, which must be exactly the canonical one.

    Raises:
        InputError: It is none.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        statement = Statement.model_validate_json(raw if len(raw) <= _MAX_CHARS else b"")
    except (ValidationError, ValueError) as err:
        raise InputError("This is no statement of a decision.", mend="Take the file that the node wrote.") from err
    if statement.text != raw:
        raise InputError("The statement was changed on its way.", mend="Take the file that the node wrote, as it is.")
    return statement


def project_digest(project: Project) -> str:
    """Digest of what a project approval is about: the same at every DIZ."""
    return digest(project.model_dump(mode="json"))
