"""What a dry run showed, as it is kept and shown on the sheet. Every text in it can be shown as it is."""

from typing import Literal

from flame_fl.contract.words import Frozen


class DryMessage(Frozen):
    """What became of one message. Every text can be shown as it is."""

    message_type: str
    outcome: Literal["released", "zero", "refused", "stopped", "skipped"]
    """"zero": under an enforced claim the app failed, and noise alone would have left."""
    code: int = 0
    detail: str = ""
    """Why, as only the node's own log says it."""
    said: str = ""
    """The last line that the app printed, if it failed."""
    seconds: float = 0.0
    bytes_out: int = 0
    items: tuple[str, ...] = ()
    """Arrays (record/name, type, shape) and metrics (record/name) that would have left."""


class MadeUp(Frozen):
    """One made-up data store."""

    records: int
    patients: int
    schema_of: Literal["released", "drafted"]
    """Whether the steward's released schema was used (with categories and ranges), or names and types alone."""


class DryRunOutcome(Frozen):
    """A dry run, as it is kept and shown."""

    dry_run_version: Literal[1] = 1
    at: str
    """When it began (UTC)."""
    analysis: str
    """The analysis digest."""
    sandbox: str
    """Runtime and image, or "subprocess"."""
    unmasked: bool = False
    """The terms want answers masked, and these are shown as they are before that."""
    stores: dict[str, MadeUp]
    messages: tuple[DryMessage, ...]
    output: tuple[str, ...] = ()
    """The last lines that the app printed."""
    seconds: float

    @property
    def text(self) -> str:
        """As JSON."""
        return self.model_dump_json()

    @classmethod
    def read(cls, text: str | bytes) -> "DryRunOutcome":
        """From JSON."""
        return cls.model_validate_json(text)
