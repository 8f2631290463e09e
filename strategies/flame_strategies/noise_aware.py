"""The gates' noise as the server sees it: what each reply says of it, and what is left of it in their mean.

A gate that clips and noises tells in its `ConfigRecord` ``flame`` what it did. All of that is public: it comes from the
terms, not from data. Used here, noise is only ever *reported*; none is added, and a round is refused that would add
more (`second_noise`).

With shares w_i (they sum to 1) and independent noise of standard deviation s_i on each coordinate of reply i, the mean
carries noise of standard deviation sqrt(sum w_i² s_i²) on each coordinate.

Under an arithmetic claim (ground ``vetted`` or ``enforced``) the number of examples is a constant or noised itself:
neither is a weight. `equally_weighted` gives every reply of such a round the weight 1; without it, one site that states
500 examples beside one whose gate says 1 would be all of the mean.

A record that is missing, or that no gate would write, says nothing: the noise of that reply is *unknown*, and so is
that of the mean. Nothing here protects anybody; the gates do.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import MetricRecord, RecordDict

from flame_strategies.approval import GATE_RECORD
from flame_strategies.averaging import Arrays

FLOWER_CLIP_KEY = "clipping_norm"
"""What Flower's client-side DP strategies put into the configuration."""
FLOWER_BIT_KEY = "norm_bit"
"""The metric that Flower's adaptive clipping modifier adds."""

_GROUNDS = frozenset({"none", "reviewed", "vetted", "enforced"})
_CLAIMS = frozenset({"vetted", "enforced"})
_RANGE = (1e-40, 1e40)  # wider than the terms allow: squares and ratios inside it stay finite in float64
_MOST_BLOCKS = 1 << 31
_BIT_SPREADS = 8.0  # a noised share lies farther out less often than once in 10^15


@dataclass(frozen=True)
class GateNoise:
    """What a gate says of one reply.

    Attributes:
        ground: What the privacy claim stands on: none, reviewed, vetted or enforced.
        noise_std: Standard deviation of the noise on each coordinate, in the update's units; None if the gate cannot
            tell, as for a vetted training that noises its steps.
        clip_norm: The bound used this round, None if none is told.
        blocks: Blocks of patients the update is a mean of, 0 for a whole site.
        below_clip: Noised share of updates (or of blocks' updates) within clip_norm, None without adaptive clipping.
        below_clip_std: Standard deviation of the noise in it.
    """

    ground: str
    noise_std: float | None
    clip_norm: float | None = None
    blocks: int = 0
    below_clip: float | None = None
    below_clip_std: float = 0.0


@dataclass(frozen=True)
class RoundNoise:
    """The noise in the mean of one round's replies.

    Attributes:
        noise_std: Standard deviation on each coordinate of the mean; None if that of a reply is unknown.
        noised: Replies that carry noise, known or not.
        unknown: Replies of which it is not known how much noise they carry.
        shares: Share of each reply in the mean, in ascending order of the node id.
        signal_to_noise: See `signal_to_noise`; None if it cannot be told.
    """

    noise_std: float | None
    noised: int
    unknown: int
    shares: tuple[float, ...] = field(repr=False)
    signal_to_noise: float | None = None

    def metrics(self) -> dict[str, float]:
        """What the round's metrics gain: nothing if no reply carries noise.

        ``noise_std`` and ``signal_to_noise`` where known, else ``noise_unknown_nodes``.
        """
        if not self.noised:
            return {}
        if self.noise_std is None:
            return {"noise_unknown_nodes": float(self.unknown)}
        said = {"noise_std": self.noise_std}
        return said if self.signal_to_noise is None else {**said, "signal_to_noise": self.signal_to_noise}


def read_noise(content: RecordDict) -> GateNoise | None:
    """What the gate says of a reply; None if it says nothing, or nothing that can be used (`noise_flaw`)."""
    record = content.config_records.get(GATE_RECORD)
    if record is None or noise_flaw(content) is not None:
        return None
    ground, std = _ground(record), _number(record.get("noise_std", 0.0))
    # A vetted training noises each of its steps: that its gate added none says nothing of the noise in the update.
    return GateNoise(
        ground=ground,
        noise_std=None if std == 0 and ground == "vetted" else std,
        clip_norm=_number(record.get("clip_norm", 0.0)) or None,
        blocks=int(_number(record.get("blocks", 0)) or 0),
        below_clip=_number(record["below_clip"]) if "below_clip" in record else None,
        below_clip_std=_number(record.get("below_clip_std", 0.0)) or 0.0,
    )


def noise_flaw(content: RecordDict) -> str | None:
    """Why a gate's record cannot be used, None if it can or if there is none."""
    record = content.config_records.get(GATE_RECORD)
    if record is None:
        return None
    if _ground(record) not in _GROUNDS:
        return "its gate names no ground of the privacy claim"
    for name in ("noise_std", "clip_norm", "below_clip_std"):
        if not _is_size(record.get(name, 0.0)):
            return f"{name} of its gate is not 0 or a number from {_RANGE[0]:g} to {_RANGE[1]:g}"
    blocks = record.get("blocks", 0)
    if isinstance(blocks, bool) or not isinstance(blocks, int) or not 0 <= blocks <= _MOST_BLOCKS:
        return "blocks of its gate is not a whole number of at least 0"
    if _ground(record) == "enforced" and not record.get("noise_std", 0.0):
        return "its gate enforces a privacy claim and states no noise"
    return _bit_flaw(record)


def is_claimed(content: RecordDict) -> bool:
    """Whether a reply stands under an arithmetic claim, whatever else its gate says."""
    record = content.config_records.get(GATE_RECORD)
    return record is not None and _ground(record) in _CLAIMS


def second_noise(contents: Sequence[RecordDict], *, wrapped: bool, flower_clips: bool) -> str | None:
    """Why a round of these replies would be noised twice, None if it would not.

    Args:
        contents: The replies.
        wrapped: Whether something else than the strategy's own `start` runs the rounds.
        flower_clips: Whether the configuration that was sent has Flower's clipping norm.
    """
    if not any(is_claimed(content) or ((said := read_noise(content)) and said.noise_std) for content in contents):
        return None
    advice = "The gates have clipped and noised these replies"
    if flower_clips or any(FLOWER_BIT_KEY in record for c in contents for record in c.metric_records.values()):
        return f"{advice}; take Flower's DP strategy and its modifiers (fixedclipping_mod, adaptiveclipping_mod) away."
    if wrapped:
        return f"{advice}; call this strategy's own start, without a DP strategy around it that noises the mean again."
    return None


def equally_weighted(contents: Sequence[RecordDict], weighted_by_key: str) -> list[RecordDict]:
    """The replies, each with the weight 1 if one of them is under an arithmetic claim; unchanged otherwise.

    Args:
        contents: Replies with one `MetricRecord` each; they are left as they are.
        weighted_by_key: The metric that is the weight.
    """
    if not any(is_claimed(content) for content in contents):
        return list(contents)
    equal = []
    for content in contents:
        ((name, metrics),) = content.metric_records.items()
        equal.append(RecordDict({**content, name: MetricRecord({**metrics, weighted_by_key: 1})}))
    return equal


def precision_weights(said: Sequence[GateNoise | None]) -> list[float] | None:
    """Weights 1/s², of all weights those that give the mean the least noise; None if a reply has no known noise.

    They come from the terms alone. The mean then stands for the sites with little noise, not for all patients alike.
    """
    stds = [noise.noise_std for noise in said if noise is not None and noise.noise_std]
    if not stds or len(stds) != len(said):
        return None
    return [(min(stds) / std) ** 2 for std in stds]


def mean_noise(said: Sequence[GateNoise | None], weights: Sequence[float]) -> RoundNoise:
    """The noise in a weighted mean.

    Args:
        said: What each reply's gate says.
        weights: One for each reply, above 0.
    """
    total = math.fsum(weights)
    shares = tuple(weight / total for weight in weights)
    unknown = sum(noise is None or noise.noise_std is None for noise in said)
    noised = sum(noise is not None and noise.noise_std != 0 for noise in said)
    # hypot: shares and deviations may be so small that their squares vanish
    parts = (share * (noise.noise_std or 0.0) for noise, share in zip(said, shares, strict=True) if noise is not None)
    return RoundNoise(None if unknown else math.hypot(*parts), noised, unknown, shares)


def signal_to_noise(model: Arrays, mean: Arrays, noise_std: float | None) -> float | None:
    """Norm of the mean change without noise over that of the noise, as far as the noised mean tells; at least 0.

    Of d coordinates with noise of deviation s the squared norm of the change is expected to be |signal|² + d s², so the
    estimate is sqrt(max(0, |change|² / (d s²) - 1)). It is itself uncertain: what lies below about (8/d)^(1/4) cannot
    be told from 0.

    Args:
        model: The model as it was sent.
        mean: The mean of the replies, in float64.
        noise_std: Standard deviation of the noise in the mean; None or 0 gives None.
    """
    size = sum(array.size for array in mean.values())
    if not noise_std or not size:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # judged below
        squares = [float(np.sum(((mean[name] - array) / noise_std) ** 2)) for name, array in model.items()]
    ratio = sum(squares) / size
    return math.sqrt(max(0.0, ratio - 1.0)) if math.isfinite(ratio) else None


def _ground(record: Mapping[str, Any]) -> str:
    ground = record.get("ground")
    return ground if isinstance(ground, str) else ""


def _number(value: Any) -> float | None:
    """A finite real number as a float; None for anything else, truth values among it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= _RANGE[1] else None  # also where it is no number


def _is_size(value: Any) -> bool:
    number = _number(value)
    return number is not None and (number == 0 or number >= _RANGE[0])


def _bit_flaw(record: Mapping[str, Any]) -> str | None:
    """A noised share is finite and within the reach of its noise around [0, 1]."""
    if "below_clip" not in record:
        return None
    share = _number(record["below_clip"])
    reach = 0.5 + _BIT_SPREADS * (_number(record.get("below_clip_std", 0.0)) or 0.0)
    if share is None or abs(share - 0.5) > reach:
        return "below_clip of its gate is not a share with the noise it states"
    return None
