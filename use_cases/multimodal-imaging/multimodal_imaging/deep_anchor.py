"""What a DIZ holds a message's network to: weights that honest training leads to, and one scaling for a session.

Sums over DIZ do not protect from a network that a hub has built: one that is blind to everybody but one patient, whose
gradients, outputs or maps the sum then is. So weights stay near the approved seed's, and thresholds cannot be moved.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord

from multimodal_imaging.errors import InputError
from multimodal_imaging.site import Request

if TYPE_CHECKING:
    from multimodal_imaging.deep_model import Recipe

SCALING = "scaling"
"""The record of a session's first centres and scales."""

SCALING_KEYS = ("centre", "scale", "outcome-centre", "outcome-scale")

FREE_STEPS = 32
"""Steps of the learning rate that every weight may go, for each pass of a round over the data."""

_STILL = 1e-6
_LARGEST_RUNNING = 1e6


def anchored(sent: Mapping[str, npt.NDArray[Any]], recipe: "Recipe", rounds: int, steps: int) -> None:
    """Refuse weights that honest training does not lead to.

    Before the first round they are the approved seed's. A step of AdamW moves a weight by about its learning rate at
    most, and a mean over DIZ moves no further than the DIZ did. So after some rounds each weight is within `steps`
    times the sum of the learning rates. A hub that sets weights freely would build a network that looks at one patient.

    Args:
        sent: By the network's names.
        recipe: The network's.
        rounds: How many may lie behind.
        steps: In each of them; twice as many as DIZ need.

    Raises:
        InputError: They are further off.
    """
    from multimodal_imaging import deep_model  # noqa: PLC0415 -- as above

    reach = _STILL + steps * sum(recipe.rate(number) for number in range(1, rounds + 1))
    stay = set(deep_model.local_names(recipe))
    for name, first in deep_model.initial_weights(recipe).items():
        if name in stay:
            continue
        if name.endswith(("running_mean", "running_var")):  # of features and not of steps; FedBN does not send them
            least = -_LARGEST_RUNNING if name.endswith("running_mean") else 0
            fits = bool(((sent[name] >= least) & (sent[name] <= _LARGEST_RUNNING)).all())
        else:
            fits = bool((abs(sent[name] - first) <= reach).all())
        if not fits:
            raise InputError(
                "The message's weights are further from the approved seed's than training brings them. Begin the run "
                "again; if one DIZ has many more patients than another, with a larger batch-size or fewer epochs."
            )


def hold_scaling(request: Request) -> None:
    """Keep a session's first centres and scales.

    Raises:
        InputError: They are others now: two networks' answers, apart by a shift of a threshold, tell of those between.
    """
    now = {key: np.atleast_1d(np.array(request.config.get(key, []), dtype=np.float64)) for key in SCALING_KEYS}
    if SCALING not in request.kept:
        request.kept[SCALING] = ArrayRecord({key: Array(value) for key, value in now.items()})
    first = {key: array.numpy() for key, array in request.kept[SCALING].items()}
    if any(not np.array_equal(first[key], now[key]) for key in SCALING_KEYS):
        raise InputError("Centres and scales changed within the run; start a new one.")
