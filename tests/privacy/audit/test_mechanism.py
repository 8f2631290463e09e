"""White-box audit at full size: 100,000 releases of each unit about its worst neighbours, at mu = 1 (ε = 4.38).

False alarms: at most 1e-6 per test, of fresh randomness. Power: 50,000 about each neighbour find a mu that is a tenth
off with a probability above 0.999 (shown on ideal Gaussians in `test_estimators`); what the bounds reach here is
asserted, so that an audit which has lost its power fails as well.
"""

import pytest

from flame_fl.privacy.accounting import epsilon_of
from tests.privacy.audit.attacks import attacks
from tests.privacy.audit.release_audits import audit_mechanism
from tests.privacy.audit.seeded_bugs import BLOCK, HUGE
from tests.privacy.audit.worlds import DELTA
from tests.support.auditing import gaussian_epsilon

AT_ONE = attacks(multiplier=2.0)
FULL = [name for name in AT_ONE if name in (HUGE.removeprefix("mechanism, "), BLOCK.removeprefix("mechanism, "))]


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_a_hundred_thousand_releases_show_what_was_paid_for_and_no_more(name: str) -> None:
    gaussian, free = audit_mechanism(AT_ONE[name], 50_000)
    truth = gaussian_epsilon(1.0, DELTA)
    assert 0.9 * truth < gaussian <= truth  # 0.949 on average, 7 standard errors
    assert 0.7 * truth < free <= truth  # 0.914 on average, 13


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in AT_ONE if name not in FULL])
def test_every_other_attack_at_four_thousand(name: str) -> None:
    audit_mechanism(AT_ONE[name], 2_000)


@pytest.mark.parametrize("multiplier", [0.5, 2.0, 8.0])
def test_what_the_ledger_says_is_never_below_the_exact_epsilon(multiplier: float) -> None:
    """So that a bound under the exact figure is under the ledger's as well, whichever accountant it asks."""
    from flame_fl.gate.claims import event_of
    from flame_fl.privacy.accounting import pld_epsilon

    event = event_of(AT_ONE[FULL[0]].setting.privacy.model_copy(update={"noise_multiplier": multiplier}))
    assert event is not None
    exact = gaussian_epsilon(2.0 / multiplier, DELTA)
    assert exact <= epsilon_of({event: 1}, DELTA)
    assert exact <= pld_epsilon({event: 1}, DELTA) + 1e-3


def test_worst_case_inputs_are_as_far_apart_as_they_are_said_to_be() -> None:
    """Without noise, along the direction: 2 clip norms where an attack is tight, to a part in a million."""
    from tests.support.gates import NoNoise

    for name, attack in AT_ONE.items():
        one, other = (attack.direction @ attack.setting.vector(u, NoNoise()) for u in (attack.one, attack.other))
        apart = abs(float(one - other))
        assert apart <= 2.0 + 1e-12, name
        assert apart > (2.0 - 1e-5 if attack.tight else 1.4), name
