"""How many more releases of a kind fit: a question to the gate's filters that changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from flame_fl.contract.errors import InputError
from flame_fl.contract.terms import Privacy
from flame_fl.gate.claims import Account, event_of
from flame_fl.gate.store import Store
from flame_fl.gate.verify import NodeLimits
from flame_fl.gate.workflow import Gate
from flame_fl.node.accounts import AccountNow, Refuser, account_now, room
from flame_fl.node.sheet_risk import accounts_for, distance_of
from flame_fl.node.steward import find
from flame_fl.privacy.accounting import PrivacyEvent
from flame_fl.privacy.filters import Filter, filter_for

KEYS = ("noise_multiplier", "releases", "mechanism", "unit", "sample_rate", "steps", "project")


@dataclass(frozen=True)
class Kind:
    """A kind of release that is asked about.

    Attributes:
        event: What one costs.
        unit: "patient" is debited from patients' accounts alone.
        releases: How many are wanted; 0 if it is not said.
        project: Whose, if it is said: then its cap is asked, too.
    """

    event: PrivacyEvent
    unit: str
    releases: int = 0
    project: str = ""


@dataclass(frozen=True)
class Fits:
    """The answer for one account, or for all of an analysis together (`account` then names the one that refuses)."""

    account: str
    admitted: int
    wanted: int
    refused_by: Refuser

    @property
    def fits(self) -> bool:
        """Whether as many as are wanted fit."""
        return self.admitted >= self.wanted


def kind_from(text: str) -> Kind:
    """A kind as it is written: `noise_multiplier=4,releases=10`.

    `noise_multiplier` is that of terms: standard deviation over clip_norm. `mechanism` is discrete-gaussian, sums or
    dp-sgd (the default if `sample_rate` or `steps` is given).

    Raises:
        InputError: It cannot be read.
    """
    said = dict(part.strip().partition("=")[::2] for part in text.split(","))
    if unknown := sorted(set(said) - set(KEYS)):
        raise InputError(f"--would does not know {unknown[0]!r}.", mend=f"It takes {', '.join(KEYS)}.")
    sampled = "sample_rate" in said or "steps" in said
    mechanism = said.get("mechanism", "dp-sgd" if sampled else "discrete-gaussian")
    unit = said.get("unit", "site" if mechanism == "discrete-gaussian" else "patient")
    try:
        stated = {
            "unit": unit,
            "ground": "enforced" if mechanism == "discrete-gaussian" else "vetted",
            "mechanism": mechanism,
            "clip_norm": 1.0,
            "noise_multiplier": float(said["noise_multiplier"]),
            "epsilon_max": 1.0,
            "delta": 1e-5,
        }
        if mechanism == "dp-sgd":
            stated |= {"sample_rate": float(said.get("sample_rate", 1)), "steps": int(said.get("steps", 1))}
        elif unit == "patient" and mechanism == "discrete-gaussian":
            stated |= {"blocks": 2, "slot_seconds": 1.0}
        event = event_of(Privacy.model_validate(stated))
        releases = int(said.get("releases", 0))
    except KeyError as err:
        raise InputError("--would needs noise_multiplier.", mend="As in noise_multiplier=4,releases=10.") from err
    except (ValidationError, ValueError) as err:
        raise InputError(f"--would {text!r} is no kind of release.", mend="As in noise_multiplier=4.") from err
    assert event is not None  # noqa: S101  (each of these mechanisms is debited)
    return Kind(event, unit, releases, said.get("project", ""))


def would_fit(store: Store, limits: NodeLimits, accounts: Sequence[Account], kind: Kind) -> list[Fits]:
    """How many fit into each account that such a release is debited from.

    Raises:
        VerificationError: What was spent is not known.
    """
    asked = [account for account in accounts if kind.unit == "site" or account.unit == "patient"]
    return [
        _fits([account_now(store, limits, account, project=kind.project)], kind.event, kind.releases)
        for account in asked
    ]


def analysis_would_fit(gate: Gate, digest: str) -> Fits:
    """How many further messages of an analysis its accounts, its project's caps and its own epsilon_max cover.

    Raises:
        InputError: There is no such analysis, or it claims nothing.
        VerificationError: What was spent is not known.
    """
    record = find(gate, digest)
    terms = record.terms
    event = event_of(terms.privacy) if terms is not None else None
    if terms is None or event is None or terms.privacy.epsilon_max is None or terms.privacy.delta is None:
        raise InputError("This analysis claims no privacy in figures: it is debited from no account.")
    had = sum(r.released + r.refused + r.working for r in gate.store.runs(record.analysis_digest, limit=1_000_000))
    left = terms.limits.runs * sum(message.per_run for message in terms.messages.values()) - had
    own = filter_for(terms.privacy.epsilon_max, terms.privacy.delta)
    accounts = accounts_for(gate, terms, record.analysis_digest)
    return _fits(accounts, event, max(0, left), own, distance_of(gate, terms))


def _fits(
    accounts: Sequence[AccountNow],
    event: PrivacyEvent,
    wanted: int,
    own: Filter | None = None,
    distance: float = 0.0,
) -> Fits:
    count, by, account = room(accounts, event, own, distance)
    return Fits(account, count or 0, wanted, by)
