"""When a fit ends early."""

import math
from dataclasses import asdict

import pytest
from flame_strategies.early_stopping import EarlyStopping, StopState


def stops_at(rule: EarlyStopping, values: list[float | None]) -> tuple[int | None, StopState]:
    """The round after which the rule ends a fit with these values, None if it does not, and its state."""
    state = StopState()
    for number, value in enumerate(values, start=1):
        state = rule.after(state, number, value)
        if rule.is_over(state):
            return number, state
    return None, state


@pytest.mark.parametrize(
    ("rule", "values", "ends", "best"),
    [
        (EarlyStopping("m", patience=2), [5.0, 4.0, 4.0, 4.0, 1.0], 4, (4.0, 2)),
        (EarlyStopping("m", patience=2), [5.0, 4.0, 4.5, 3.9, 3.8], None, (3.8, 5)),
        (EarlyStopping("m", patience=2, mode="max"), [0.5, 0.6, 0.6, 0.55], 4, (0.6, 2)),
        (EarlyStopping("m", patience=2, min_delta=0.5), [5.0, 4.6, 4.5, 4.4], 3, (5.0, 1)),
        (EarlyStopping("m", patience=2), [5.0, math.nan, math.nan], 3, (5.0, 1)),
        (EarlyStopping("m", patience=2), [math.inf, math.nan], 2, (None, 0)),
        (EarlyStopping("m", patience=2), [5.0, None, None, None, 6.0], None, (5.0, 1)),
        (EarlyStopping("m", patience=1, mode="max"), [-1.0, -2.0], 2, (-1.0, 1)),
    ],
)
def test_it_ends_when_nothing_becomes_better(rule, values, ends, best) -> None:
    """By more than min_delta; a round without a result is no round without a better one."""
    found, state = stops_at(rule, values)
    assert (found, (state.best, state.best_round)) == (ends, best)


def test_a_state_that_was_kept_gives_the_same_decision() -> None:
    """At every round."""
    rule, values = EarlyStopping("m", patience=3), [5.0, 4.0, 6.0, 4.1, 4.2, 3.0]
    whole = stops_at(rule, values)
    for cut in range(1, 5):
        state = StopState()
        for number, value in enumerate(values[:cut], start=1):
            state = rule.after(state, number, value)
        state = StopState(**asdict(state))
        for number, value in enumerate(values[cut:], start=cut + 1):
            state = rule.after(state, number, value)
            if rule.is_over(state):
                assert (number, state) == whole
                break


def test_the_metric_is_found_or_named() -> None:
    """A rule that watches nothing would never end a fit."""
    rule = EarlyStopping("mae")
    assert rule.value_in(None) is None
    assert rule.value_in({"mae": 3}) == 3.0
    for record in ({"loss": 1.0}, {"mae": [1.0]}, {"mae": True}):
        with pytest.raises(ValueError, match="needs one number as 'mae'"):
            rule.value_in(record)


@pytest.mark.parametrize(
    "terms", [{"patience": 0}, {"min_delta": -1.0}, {"min_delta": math.nan}, {"mode": "best"}, {"source": "hub"}]
)
def test_terms_that_make_no_sense_are_refused(terms: dict) -> None:
    """When the rule is made."""
    with pytest.raises(ValueError, match="Early stopping"):
        EarlyStopping("m", **terms)
