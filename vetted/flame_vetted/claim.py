"""The numbers of a privacy claim, as the gate hands them over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flame_fl.contract.errors import InputError


@dataclass(frozen=True)
class Claim:
    """What bounds and hides one patient.

    Attributes:
        mechanism: "sums" or "dp-sgd".
        clip_norm: Bound on the L2 norm of one patient's vector.
        noise_multiplier: Standard deviation of the noise on each coordinate of a sum, in units of clip_norm.
        sample_rate: With which probability a patient is in a batch; 1 for sums.
        steps: How many batches one message asks for; 1 for sums.
    """

    mechanism: str
    clip_norm: float
    noise_multiplier: float
    sample_rate: float = 1.0
    steps: int = 1

    def __post_init__(self) -> None:
        if not (0 < self.clip_norm < float("inf") and 0 < self.noise_multiplier < float("inf")):
            raise ValueError("clip_norm and noise_multiplier must be positive")
        if not 0 < self.sample_rate <= 1 or self.steps < 1:
            raise ValueError("sample_rate must lie in (0, 1], steps from 1")


def claim_of(privacy: Mapping[str, Any]) -> Claim:
    """Read the privacy terms.

    Raises:
        InputError: They are not those of a vetted claim.
    """
    needed = {"sums": (), "dp-sgd": ("sample_rate", "steps")}.get(str(privacy.get("mechanism")))
    if needed is None or privacy.get("unit") != "patient":
        raise InputError(
            "The privacy terms are none that flame_vetted carries out.",
            mend='State unit = "patient" and mechanism = "sums" or "dp-sgd".',
        )
    fields = ("clip_norm", "noise_multiplier", *needed)
    if missing := [name for name in fields if privacy.get(name) is None]:
        raise InputError(f"The privacy terms lack {', '.join(missing)}.", mend="State them in [tool.flame.privacy].")
    try:
        return Claim(str(privacy["mechanism"]), **{name: privacy[name] for name in fields})
    except (TypeError, ValueError) as err:
        raise InputError(f"The privacy terms do not hold: {err}.", mend="Correct [tool.flame.privacy].") from None
