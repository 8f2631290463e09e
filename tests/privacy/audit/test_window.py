"""Unit site: a patient goes while the noise is drawn. Whether the app had failed must not show."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from flame_fl.contract.content import Content
from flame_fl.contract.errors import SandboxError
from flame_fl.contract.ports import Envelope
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.support.gates import ENFORCED, World, good_update, make_fab, terms_table


class GoesMeanwhile(ExactNoise):
    world: Any = None

    def discrete_gaussian(self, sigma_squared: tuple[int, int], count: int) -> npt.NDArray[np.int64]:
        if self.world is not None and count > 1:
            self.world.data["cohort"].people = range(1, 100)
        return super().discrete_gaussian(sigma_squared, count)


def test_a_patient_who_goes_while_noise_is_drawn_does_not_show_a_failing_app(make_world: Callable[..., World]) -> None:
    codes = []
    for fails in (False, True):
        noise = GoesMeanwhile()
        noise.world = world = make_world(noise=noise)
        app = make_fab(terms_table(privacy=ENFORCED))
        world.decide(app)

        def answer(message: Envelope, fails: bool = fails) -> Content:
            if fails:
                raise SandboxError("it died")
            return good_update()

        world.sandbox.answer = answer
        codes.append(world.code(app))
    assert codes == [None, None]
