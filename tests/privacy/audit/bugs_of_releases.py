"""Ways to break a release: clipping, noise, what is no coordinate, failures. Each breaks the product for a patch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.task import Reply
from flame_fl.gate import noised
from flame_fl.gate import release as release_module
from flame_fl.gate.noised import NoisedSum
from flame_fl.gate.workflow import Gate
from flame_fl.privacy import discrete_gaussian
from flame_fl.privacy.clipping import CLIP_INT, clip_to_integers
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.support.gates import NoNoise

Patch = pytest.MonkeyPatch


# --- clipping --------------------------------------------------------------------------------------------------------


def no_clipping(patch: Patch) -> None:
    patch.setattr(noised, "clip_to_integers", lambda v, c, parts=(): np.trunc(v * (CLIP_INT / c)).astype(np.int64))


def infinity_norm(patch: Patch) -> None:
    def clipped(vector: Any, clip_norm: float, parts: Any = ()) -> Any:
        return np.trunc(np.clip(vector / clip_norm, -1.0, 1.0) * CLIP_INT).astype(np.int64)

    patch.setattr(noised, "clip_to_integers", clipped)


def metrics_apart(patch: Patch) -> None:
    def clipped(vector: Any, clip_norm: float, parts: Any = ()) -> Any:
        return np.append(clip_to_integers(vector[:-1], clip_norm), clip_to_integers(vector[-1:], clip_norm))

    patch.setattr(noised, "clip_to_integers", clipped)


def every_share_whole(patch: Patch) -> None:
    def clipped(vector: Any, clip_norm: float, parts: Any = ()) -> Any:
        ends = np.cumsum([length for length, _ in parts])[:-1]
        return np.concatenate([clip_to_integers(part, clip_norm) for part in np.split(vector, ends)])

    patch.setattr(noised, "clip_to_integers", clipped)


def rounding_up(patch: Patch) -> None:
    """Less than a unit per coordinate leaves the ball: nothing that statistics would see, but the proof is gone."""

    def clipped(vector: Any, clip_norm: float, parts: Any = ()) -> Any:
        with np.errstate(over="ignore"):
            scaled = vector * (CLIP_INT / max(clip_norm, float(np.linalg.norm(vector))))
        return (np.sign(scaled) * np.ceil(np.abs(scaled))).astype(np.int64)

    patch.setattr(noised, "clip_to_integers", clipped)


def noise_before_clipping(patch: Patch) -> None:
    add, release, rng = NoisedSum.add, NoisedSum.release, np.random.default_rng(1)

    def noisy_add(self: NoisedSum, update: Content | None, failed: str = "") -> None:
        multiplier = self._privacy.noise_multiplier or 0.0

        def clipped(vector: Any, clip_norm: float, parts: Any = ()) -> Any:
            return clip_to_integers(vector + rng.normal(0, multiplier * clip_norm, len(vector)), clip_norm, parts)

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(noised, "clip_to_integers", clipped)
            add(self, update, failed)

    patch.setattr(NoisedSum, "add", noisy_add)
    patch.setattr(NoisedSum, "release", lambda self, noise: release(self, NoNoise()))


def reference_ignored(patch: Patch) -> None:
    whole = release_module.flatten
    patch.setattr(noised, "flatten", lambda update, reference, rules: whole(update, {}, rules))


# --- noise ---------------------------------------------------------------------------------------------------------


def _sigma_times(patch: Patch, factor: Callable[[Any], float]) -> None:
    whole = noised.sigma_of

    def changed(privacy: Any) -> tuple[int, int]:
        multiplier = privacy.noise_multiplier * factor(privacy)
        return whole(privacy.model_copy(update={"noise_multiplier": multiplier}))

    patch.setattr(noised, "sigma_of", changed)


def halved_noise(patch: Patch) -> None:
    _sigma_times(patch, lambda privacy: 0.5)


def noise_of_the_mean(patch: Patch) -> None:
    _sigma_times(patch, lambda privacy: 1 / (privacy.blocks or 1))


def doubled_noise(patch: Patch) -> None:
    _sigma_times(patch, lambda privacy: 2.0)


def reused_noise(patch: Patch) -> None:
    patch.setattr(discrete_gaussian, "fresh_key", lambda: b"k" * 32)


def _draws(patch: Patch, change: Callable[[Any], Any]) -> None:
    whole = ExactNoise.discrete_gaussian
    patch.setattr(ExactNoise, "discrete_gaussian", lambda self, s, count: change(whole(self, s, count)))


def one_draw_for_all(patch: Patch) -> None:
    _draws(patch, lambda draws: np.full_like(draws, draws[0] if len(draws) else 0))


def last_coordinate_bare(patch: Patch) -> None:
    _draws(patch, lambda draws: np.append(draws[:-1], 0))


def absolute_noise(patch: Patch) -> None:
    _draws(patch, np.abs)


def float_noise(patch: Patch) -> None:
    rng = np.random.default_rng(2)
    patch.setattr(ExactNoise, "discrete_gaussian", lambda self, s, n: rng.normal(0.0, (s[0] / s[1]) ** 0.5, n))


def noise_by_size(patch: Patch) -> None:
    add = NoisedSum.add

    def fitting(self: NoisedSum, update: Content | None, failed: str = "") -> None:
        if update is not None:
            largest = max((float(np.linalg.norm(a)) for _, _, a in update.array_items()), default=0.0)
            self._clip_norm = min(self._clip_norm, max(largest, 1e-6))
        add(self, update, failed)

    patch.setattr(NoisedSum, "add", fitting)


# --- what is no coordinate ---------------------------------------------------------------------------------------


def _exact_metrics(patch: Patch, names: Callable[[str], bool]) -> None:
    add, release = NoisedSum.add, NoisedSum.release

    def remembering(self: NoisedSum, update: Content | None, failed: str = "") -> None:
        self.last = update  # type: ignore[attr-defined]
        add(self, update, failed)

    def exact(self: NoisedSum, noise: Any) -> Any:
        left, said = release(self, noise), getattr(self, "last", None)
        known = said.metrics.get("m", {}) if said is not None else {}
        metrics = {**left.content.metrics["m"], **{k: v for k, v in known.items() if names(k)}}
        return replace(left, content=Content(left.content.arrays, {"m": metrics}))

    patch.setattr(NoisedSum, "add", remembering)
    patch.setattr(NoisedSum, "release", exact)


def metrics_exact(patch: Patch) -> None:
    _exact_metrics(patch, lambda name: name == "loss")


def count_exact(patch: Patch) -> None:
    _exact_metrics(patch, lambda name: name == "num-examples")


def bit_exact(patch: Patch) -> None:
    within, release, last = noised._within, NoisedSum.release, [1.0]

    def remembering(vector: Any, clip_norm: float) -> bool:
        last[0] = float(within(vector, clip_norm))
        return bool(last[0])

    patch.setattr(noised, "_within", remembering)
    patch.setattr(NoisedSum, "release", lambda self, noise: replace(release(self, noise), below_clip=last[0]))


def patients_in_the_reply(patch: Patch) -> None:
    whole = Gate._commit_and_record

    def telling(self: Gate, verified: Any, attempt: int, *released: Any) -> Reply:
        reply = whole(self, verified, attempt, *released)
        own = {**reply.content.configs["flame"], "patients": verified.uses["cohort"].cohort.patients}
        return Reply(replace(reply.content, configs={"flame": own}))

    patch.setattr(Gate, "_commit_and_record", telling)


# --- failures --------------------------------------------------------------------------------------------------------


def failure_refused(patch: Patch) -> None:
    add = NoisedSum.add

    def refusing(self: NoisedSum, update: Content | None, failed: str = "") -> None:
        before = len(self._failed)
        add(self, update, failed)
        if len(self._failed) > before and "is empty" not in failed:
            raise RefusedError(RefusalCode.SANDBOX_FAILED, "a block failed")

    patch.setattr(NoisedSum, "add", refusing)


def failure_not_counted(patch: Patch) -> None:
    release = NoisedSum.release

    def fewer(self: NoisedSum, noise: Any) -> Any:
        left = max(1, (self._privacy.blocks or 1) - len(self._failed))
        self._privacy = self._privacy.model_copy(update={"blocks": left})
        return release(self, noise)

    patch.setattr(NoisedSum, "release", fewer)
