"""Audits of one release or two, as the gate makes them of updates: what they show, and what they may not."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from flame_fl.contract.content import Content
from flame_fl.contract.refusal import RefusedError
from flame_fl.gate import claims
from flame_fl.privacy.accounting import epsilon_of
from flame_fl.privacy.clipping import CLIP_INT
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.privacy.audit.attacks import DIMENSIONS, HUGE, Attack, Setting, attacks, rules_with, update_of
from tests.privacy.audit.worlds import DELTA
from tests.support.auditing import found, require_claim
from tests.support.gates import (
    NoNoise,
)


def audit_mechanism(attack: Attack, size: int) -> tuple[float, float]:
    """`size` releases about each of two neighbours; returns lower bounds of epsilon."""
    event = claims.event_of(attack.setting.privacy)
    if event is None:
        found("nothing is debited at all")
    one, other = attack.projections(size, ExactNoise())
    return require_claim(
        one,
        other,
        mu=1 / event.multiplier,
        epsilon=epsilon_of({event: 1}, DELTA),
        delta=DELTA,
        tight=attack.tight,
    )


def audit_two_releases(size: int) -> None:
    """Two messages: about the data, and about nothing. Their difference must not show more than the first one did."""
    attack = attacks()["site: far outside the ball, one side against the other"]
    event = claims.event_of(attack.setting.privacy)
    assert event is not None
    nothing, noise = [update_of(np.zeros(DIMENSIONS))], ExactNoise()

    def difference(updates: Sequence[Content | None]) -> float:
        first, second = attack.setting.vector(updates, noise), attack.setting.vector(nothing, noise)
        return float(attack.direction @ (first - second)) / math.sqrt(2)

    one, other = (np.array([difference(u) for _ in range(size)]) for u in (attack.one, attack.other))
    require_claim(one, other, mu=1 / event.multiplier, epsilon=epsilon_of({event: 1}, DELTA), delta=DELTA, tight=False)


def audit_noise_knows_no_data() -> None:
    """Under one seed, what is added is the same whatever is released: nothing, a small, a huge vector, or a failure."""
    setting = Setting()
    inputs: list[Content | None] = [None]
    inputs += [update_of(np.zeros(DIMENSIONS), 5.0), update_of(np.full(DIMENSIONS, 0.01), 6.0)]
    inputs += [update_of(np.full(DIMENSIONS, HUGE), 0.0)]
    added = []
    for update in inputs:
        noisy, plain = (setting.vector([update], noise) for noise in (ExactNoise(seed_for_tests=7), NoNoise()))
        added.append(noisy - plain)
    if any(not np.allclose(one, added[0], atol=1e-9) for one in added[1:]):
        found("the noise depends on what is released")
    if np.linalg.norm(added[0]) == 0:
        found("there is no noise")


def audit_lattice() -> None:
    """What leaves is a whole number of units: no bits below them, for an attacker to read the raw value from."""
    setting = Setting(rules=rules_with(metric=False))
    update = update_of(np.random.default_rng(3).normal(size=DIMENSIONS))
    units = setting.vector([update], ExactNoise()) * CLIP_INT
    if not np.array_equal(units, np.rint(units)):
        found("what leaves is not on the grid of integers")


def audit_form() -> None:
    """Count, records and keys are the same for every answer, and nothing is where the vector is not."""
    setting = Setting()
    noise = ExactNoise()
    seen = []
    for update in (update_of(np.ones(DIMENSIONS), 3.0, count=17), update_of(np.zeros(DIMENSIONS), count=4242), None):
        content = setting.released([update], noise).content
        counts = content.metrics["m"]["num-examples"]
        seen.append((counts, [(r, list(v)) for r, v in content.metrics.items()], len(content.array_items())))
    if any(one != seen[0] for one in seen[1:]):
        found(f"what the app says shows in what is no coordinate: {seen}")


def audit_failure_is_zero() -> None:
    """A block that fails, is empty or sends what does not fit is the zero vector: the same bits under the same seed."""
    setting = attacks()["patient: one block turned round"].setting
    good, zero = update_of(np.ones(DIMENSIONS)), update_of(np.zeros(DIMENSIONS))
    wrong = {
        "nothing": None,
        "not finite": update_of(np.full(DIMENSIONS, np.nan)),
        "another shape": Content({"r": {"a": np.zeros(3), "b": np.zeros(8)}}, {"m": {"num-examples": 1}}),
        "unlisted": Content(good.arrays, {"m": {"smoker": 1}}),
    }
    left = setting.vector([good, zero], ExactNoise(seed_for_tests=3))
    for name, failure in wrong.items():
        try:
            other = setting.vector([good, failure], ExactNoise(seed_for_tests=3))
        except RefusedError as err:
            found(f"{name}: a refusal leaves ({int(err.code)})")
        if not np.array_equal(left, other):
            found(f"{name}: it is not the zero vector")


def integers(setting: Setting, updates: Sequence[Content | None]) -> list[int]:
    """A release without its noise, in units of the ball, as integers of any size."""
    return [int(x) for x in np.rint(setting.vector(updates, NoNoise()) * CLIP_INT)]


def require_sensitivity(settings: Mapping[str, Setting], inputs: Sequence[Content | None]) -> None:
    """Every input is in the ball, and no two are further apart than its diameter: exactly, in integers.

    Under unit patient the first block has the input, and the others have the same whichever it is.
    """
    for name, setting in settings.items():
        rest = [update_of(np.full(DIMENSIONS, 0.2))] * ((setting.privacy.blocks or 1) - 1)
        origin = integers(setting, [None, *rest])
        seen = [integers(setting, [update, *rest]) for update in inputs]
        for one in seen:
            if sum((a - b) ** 2 for a, b in zip(one, origin, strict=True)) > CLIP_INT**2:
                found(f"{name}: an update counts for more than clip_norm")
            if any(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) > 4 * CLIP_INT**2 for other in seen):
                found(f"{name}: two updates are further apart than 2 clip_norm")


def audit_sensitivity() -> None:
    """Forty vectors of every size, on the sphere to the last bit, and what is no vector, by every mechanism."""
    rng = np.random.default_rng(11)
    directions = rng.normal(size=(40, DIMENSIONS))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sizes = [*[1.0] * 20, *[1e-3, 0.5, 1 + 1e-15, 1e3, 1e300] * 4]
    good = [update_of(size * d, float(rng.uniform(-5, 15))) for size, d in zip(sizes, directions, strict=True)]
    inputs: list[Content | None] = [*good, *(update_of(-update.arrays["r"]["a"].repeat(2), 0.0) for update in good[:5])]
    inputs += [None, update_of(np.full(DIMENSIONS, np.inf)), Content()]
    require_sensitivity(settings(), inputs)


def settings() -> dict[str, Setting]:
    """Every mechanism, once."""
    known = attacks()
    return {name: attack.setting for name, attack in known.items()}


def audit_delta() -> None:
    """Under "delta" the difference to what was sent is what is clipped, and it is added to what was sent."""
    setting = attacks()["site: a delta to what was sent"].setting
    sent = np.concatenate([setting.sent.arrays["r"][name] for name in "ab"])
    change = np.zeros(DIMENSIONS)
    change[:2] = 0.3, -0.4
    left = setting.vector([update_of(sent + change)], NoNoise())
    if np.abs(left - change).max() > 4 / CLIP_INT:
        found("what left is not what was sent and the app's small change")
