"""Deriving an analysis with other privacy terms: another `[tool.flame.privacy]`, another bundle, another digest.

`--privacy none` states no claim. `--privacy site` states an enforced claim of unit site, for one run: the noise
multiplier is chosen so that every message the contract allows fits into `--epsilon`. Message types whose contract
cannot carry such a claim (open shapes, integers) are left out, and said so; `--messages` keeps only the named ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import read_fab
from flame_fl.contract.manifest import parse_terms
from flame_fl.flower.bundle import build_fab, with_terms
from flame_fl.privacy.accounting import noise_multiplier_for

_MOST = 1e6


@dataclass(frozen=True)
class PrivacyWish:
    """What was asked on the command line. All None: the app's own terms."""

    privacy: Literal["none", "site"] | None = None
    epsilon: float | None = None
    delta: float = 1e-5
    clip_norm: float | None = None
    messages: tuple[str, ...] = ()


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
        if wish.epsilon is not None or wish.messages or wish.clip_norm is not None:
            raise InputError(
                "--epsilon, --clip-norm and --messages need --privacy.", mend="Add --privacy site (or none)."
            )
        return Derived(build_fab(app_dir))
    stated = read_fab(build_fab(app_dir)).setting("tool", "flame")
    if stated is None:
        raise InputError(
            "The app states no [tool.flame], so there are no privacy terms to change.",
            mend="State them first: `flame app check` lists what is missing.",
        )
    parse_terms(stated)  # its own faults first, by name
    terms = dict(stated)
    if unknown := sorted(set(wish.messages) - set(terms.get("messages", {}))):
        raise InputError(f"The app states no message type {unknown[0]!r}.", mend="See `flame app check`.")
    offered = {k: v for k, v in terms.get("messages", {}).items() if not wish.messages or k in wish.messages}
    if wish.privacy == "none":
        if wish.epsilon is not None or wish.clip_norm is not None:
            raise InputError(
                "--privacy none claims nothing, so --epsilon and --clip-norm say nothing.", mend="Leave them out."
            )
        terms |= {"messages": offered, "privacy": {"unit": "none", "ground": "none", "mechanism": "none"}}
        return Derived(with_terms(app_dir, terms), _left_out(stated, offered))
    if wish.epsilon is None:
        raise InputError("--privacy site needs --epsilon.", mend="For example --epsilon 8.")
    for option, value in (("--epsilon", wish.epsilon), ("--clip-norm", wish.clip_norm)):
        if value is not None and not 0 < value <= _MOST:
            raise InputError(f"{option} {value:g} is no number above 0 and up to {_MOST:g}.", mend="For example 8.")
    clip_norm = wish.clip_norm or terms.get("privacy", {}).get("clip_norm") or 1.0
    kept = {k: v for k, v in offered.items() if _carries_claim(terms, k, v, clip_norm)}
    if not kept:
        raise InputError(
            "No message type of this app can carry an enforced claim.",
            mend="An enforced claim needs float arrays of exact shape, and metrics with min and max.",
        )
    releases = sum(int(m["per_run"]) for m in kept.values())
    try:
        multiplier = noise_multiplier_for(wish.epsilon, wish.delta, releases)
    except ValueError as err:
        raise InputError(
            f"No noise makes {releases} releases cost ε = {wish.epsilon:g} at δ = {wish.delta:g}.",
            mend="Choose a larger --epsilon, or fewer messages with --messages.",
        ) from err
    privacy = _enforced(wish.epsilon, wish.delta, clip_norm, multiplier)
    terms |= {"messages": kept, "privacy": privacy, "limits": {**terms.get("limits", {}), "runs": 1}}
    parse_terms(terms)
    return Derived(with_terms(app_dir, terms), _left_out(stated, kept))


def _enforced(epsilon: float, delta: float, clip_norm: float, noise_multiplier: float) -> dict[str, Any]:
    return {
        "unit": "site",
        "ground": "enforced",
        "mechanism": "discrete-gaussian",
        "clip_norm": clip_norm,
        "noise_multiplier": noise_multiplier,
        "epsilon_max": epsilon,
        "delta": delta,
    }


def _carries_claim(terms: Mapping[str, Any], kind: str, message: Any, clip_norm: float) -> bool:
    try:
        parse_terms({**terms, "messages": {kind: message}, "privacy": _enforced(1.0, 1e-5, clip_norm, 1.0)})
    except InputError:
        return False
    return True


def _left_out(stated: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(set(stated.get("messages", {})) - set(kept)))
