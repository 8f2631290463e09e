"""Deriving an analysis with other privacy terms: another `[tool.flame.privacy]`, another bundle, another digest.

`--privacy none` states no claim. `--privacy site` and `--privacy patient` state an enforced claim of that unit, for one
run: the noise multiplier is chosen so that every message the contract allows fits into `--epsilon`. Of unit patient the
app runs once for each of `--blocks` blocks of a node's patients. Message types whose contract
cannot carry such a claim (open shapes, integers) are left out, and said so; `--messages` keeps only the named ones.

`--secure-aggregation` has every answer leave masked, as the app's [tool.flame.secure_aggregation] says, or with the
plainest terms if it says nothing. Noise of unit site or patient is then made in shares (`trust = "distributed"`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import parse_terms
from flame_fl.contract.secure_terms import FEWEST_SITES, MOST_SITES, SecureAggregation, flaw
from flame_fl.contract.terms import Federation, Privacy
from flame_fl.flower.bundle import build_fab, with_terms
from flame_fl.gate.claims import event_of
from flame_fl.gate.cohort_check import EVENT
from flame_fl.privacy.accounting import Events
from flame_fl.privacy.filters import filter_for, multiplier_for

_MOST = 1e6
_EXAMPLES = "num-examples"
_MOST_BLOCKS = 10_000
BLOCKS = 16
"""Into how many blocks a node's patients are split if nobody says otherwise."""
SLOT_SECONDS = 60.0


@dataclass(frozen=True)
class PrivacyWish:
    """What was asked on the command line. All None: the app's own terms."""

    privacy: Literal["none", "site", "patient"] | None = None
    epsilon: float | None = None
    delta: float = 1e-5
    clip_norm: float | None = None
    messages: tuple[str, ...] = ()
    blocks: int | None = None
    secure: bool = False


@dataclass(frozen=True)
class Derived:
    """The bundle to run, and which message types the wish left out of it."""

    raw_fab: bytes
    left_out: tuple[str, ...] = ()


def derive(app_dir: Path, wish: PrivacyWish) -> Derived:
    """The app's own bundle, or one with the wished terms.

    Raises:
        InputError: The app cannot be bundled, states no terms, or the wish cannot be had; the sentence says why.
    """
    if wish.privacy is None:
        if wish.epsilon is not None or wish.messages or wish.clip_norm is not None or wish.blocks is not None:
            raise InputError(
                "--epsilon, --clip-norm, --blocks and --messages need --privacy.",
                mend="Add --privacy patient (or site, or none).",
            )
        if not wish.secure:
            return Derived(build_fab(app_dir))
    stated = read_fab(build_fab(app_dir)).setting("tool", "flame")
    if stated is None:
        raise InputError(
            "The app states no [tool.flame], so there are no privacy terms to change.",
            mend="State them first: `flame app check` lists what is missing.",
        )
    parse_terms(stated)  # its own faults first, by name
    terms = _masked(dict(stated)) if wish.secure else dict(stated)
    if wish.privacy is None:
        parse_terms(terms)
        return Derived(with_terms(app_dir, terms))
    if unknown := sorted(set(wish.messages) - set(terms.get("messages", {}))):
        raise InputError(f"The app states no message type {unknown[0]!r}.", mend="See `flame app check`.")
    offered = {k: v for k, v in terms.get("messages", {}).items() if not wish.messages or k in wish.messages}
    if wish.privacy == "none":
        if wish.epsilon is not None or wish.clip_norm is not None or wish.blocks is not None:
            raise InputError(
                "--privacy none claims nothing, so --epsilon, --clip-norm and --blocks say nothing.",
                mend="Leave them out.",
            )
        terms |= {"messages": offered, "privacy": {"unit": "none", "ground": "none", "mechanism": "none"}}
        return Derived(with_terms(app_dir, terms), _left_out(stated, offered))
    _check_wish(wish)
    assert wish.epsilon is not None  # noqa: S101  (just checked)
    clip_norm = wish.clip_norm or terms.get("privacy", {}).get("clip_norm") or 1.0
    base = _claim(wish, clip_norm) | ({"trust": "distributed"} if wish.secure else {})
    kept = {k: v for k, v in offered.items() if _carries_claim(terms, k, v, base)}
    if not kept:
        raise InputError(
            "No message type of this app can carry an enforced claim.",
            mend="An enforced claim needs float arrays of exact shape, and metrics with min and max.",
        )
    releases = sum(int(m["per_run"]) for m in kept.values())
    stores = len(terms.get("data", {}))

    def events(multiplier: float) -> Events:
        event = event_of(Privacy.model_validate({**base, "noise_multiplier": multiplier}))
        assert event is not None  # noqa: S101  (it claims)
        # the patients of each store are counted once, with noise; the two events may be equal
        return Counter({event: releases}) + Counter({EVENT: stores})

    try:
        base["noise_multiplier"] = multiplier_for(filter_for(wish.epsilon, wish.delta), events)
    except ValueError as err:
        raise InputError(
            f"No noise makes {releases} releases cost ε = {wish.epsilon:g} at δ = {wish.delta:g}.",
            mend="Choose a larger --epsilon, or fewer messages with --messages.",
        ) from err
    terms |= {"messages": kept, "privacy": base, "limits": {**terms.get("limits", {}), "runs": 1}}
    parse_terms(terms)
    return Derived(with_terms(app_dir, terms), _left_out(stated, kept))


def _masked(terms: dict[str, Any]) -> dict[str, Any]:
    """The terms with secure aggregation required, and as many sites as that needs."""
    stated = {**_weighted(terms), **terms.get("secure_aggregation", {}), "required": True}
    secure = SecureAggregation.model_validate(stated)
    federation = Federation.model_validate(terms.get("federation", {}))
    sites = max(federation.min_sites, FEWEST_SITES)
    while sites < MOST_SITES and flaw(sites, secure.dropouts, secure.colluding):
        sites += 1
    return {
        **terms,
        "secure_aggregation": stated,
        "federation": {**terms.get("federation", {}), "min_sites": sites},
    }


def _weighted(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Flower's own weights, if every message has them: a mean over sites is then the same with and without masks."""
    metrics = [message.get("metrics", ()) for message in terms.get("messages", {}).values()]
    counted = [any(m.get("name") == _EXAMPLES and m.get("kind") == "count" for m in listed) for listed in metrics]
    return {"weight": _EXAMPLES} if counted and all(counted) else {}


def _check_wish(wish: PrivacyWish) -> None:
    """Whether a claim can be made of it.

    Raises:
        InputError: No; the sentence names the option.
    """
    if wish.epsilon is None:
        raise InputError(f"--privacy {wish.privacy} needs --epsilon.", mend="For example --epsilon 8.")
    if wish.privacy == "site" and wish.blocks is not None:
        raise InputError("--privacy site has no blocks.", mend="Leave --blocks out, or say --privacy patient.")
    if wish.blocks is not None and not 2 <= wish.blocks <= _MOST_BLOCKS:
        raise InputError(f"--blocks {wish.blocks} is not from 2 to {_MOST_BLOCKS}.", mend="For example 16.")
    for option, value in (("--epsilon", wish.epsilon), ("--clip-norm", wish.clip_norm)):
        if value is not None and not 0 < value <= _MOST:
            raise InputError(f"{option} {value:g} is no number above 0 and up to {_MOST:g}.", mend="For example 8.")


def _claim(wish: PrivacyWish, clip_norm: float) -> dict[str, Any]:
    claim: dict[str, Any] = {
        "unit": wish.privacy,
        "ground": "enforced",
        "mechanism": "discrete-gaussian",
        "clip_norm": clip_norm,
        "noise_multiplier": 1.0,
        "epsilon_max": wish.epsilon,
        "delta": wish.delta,
    }
    if wish.privacy == "patient":
        claim |= {"blocks": wish.blocks or BLOCKS, "slot_seconds": SLOT_SECONDS}
    return claim


def _carries_claim(terms: Mapping[str, Any], kind: str, message: Any, claim: Mapping[str, Any]) -> bool:
    try:
        parse_terms({**terms, "messages": {kind: message}, "privacy": claim})
    except InputError:
        return False
    return True


def _left_out(stated: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(set(stated.get("messages", {})) - set(kept)))
