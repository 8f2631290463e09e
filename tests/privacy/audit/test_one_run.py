"""One run, many canaries (Steinke, Nasr, Jagielski 2023): a smoke test of the whole sum over blocks.

Each of 1,000 blocks has a canary patient of its own, there by a fair coin. The app answers e_i where canary i is, and
-e_i where not: the worst that it could do. From one release every canary is guessed by its coordinate's sign. Under the
right code the bound must stay under the ledger's epsilon, with a false alarm of at most 1e-6. It is far below: so this
finds only gross bugs, and the audits of the mechanism find the others.
"""

import numpy as np
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.ports import NoiseSource
from flame_fl.gate.claims import event_of
from flame_fl.gate.noised import NoisedSum
from flame_fl.privacy.accounting import epsilon_of
from flame_fl.privacy.discrete_gaussian import ExactNoise
from tests.privacy.audit.bugs_of_releases import last_coordinate_bare, no_clipping
from tests.support.auditing import one_run_epsilon
from tests.support.gates import NoNoise, enforced, message_terms

CANARIES = 1000
DELTA = 1e-9  # the theorem's loss to delta grows with the canaries: at alpha = 1e-6 it must be small
RULES = message_terms(
    arrays=[{"record": "r", "name": "w", "dtype": "float64", "shape": [CANARIES]}],
    metrics=[{"record": "m", "name": "num-examples", "kind": "count"}],
)
PRIVACY = enforced(unit="patient", blocks=CANARIES, slot_seconds=1.0, noise_multiplier=8.0)


def bound(noise: NoiseSource, size: float = 1.0, guessed: int = CANARIES) -> float:
    """A lower bound of epsilon from one release, guessing the canaries that show most."""
    there = np.random.default_rng().integers(0, 2, CANARIES) == 1
    total = NoisedSum({}, RULES, PRIVACY, 1.0)
    for number, present in enumerate(there):
        vector = np.zeros(CANARIES)
        vector[number] = size if present else -size
        total.add(Content({"r": {"w": vector}}, {"m": {"num-examples": 1}}))
    shown = total.release(noise).content.arrays["r"]["w"]
    surest = np.argsort(-np.abs(shown))[:guessed]
    right = int(np.count_nonzero((shown[surest] > 0) == there[surest]))
    return one_run_epsilon(CANARIES, guessed, right, DELTA)


def claimed() -> float:
    event = event_of(PRIVACY)
    assert event is not None
    return epsilon_of({event: 1}, DELTA)


@pytest.mark.parametrize("guessed", [CANARIES, 200])
def test_one_run_proves_no_more_than_was_paid_for(guessed: int) -> None:
    assert bound(ExactNoise(), guessed=guessed) <= claimed()


def test_without_noise_it_proves_more_than_was_paid_for() -> None:
    """All 1,000 guesses are right."""
    assert bound(NoNoise()) > claimed()


def test_without_clipping_it_proves_more_than_was_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The canaries are thirty times the ball."""
    no_clipping(monkeypatch)
    assert bound(ExactNoise(), size=30.0) > claimed()


def test_a_single_bare_coordinate_is_not_found_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a smoke test cannot do: that bug is the mechanism audit's."""
    last_coordinate_bare(monkeypatch)
    assert bound(ExactNoise()) <= claimed()
