"""Terms: what is misspelt, open or impossible is an error before anything runs."""

from datetime import date
from typing import Any

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.contract.manifest import parse_terms
from flame_fl.contract.terms import OverrideRule
from tests.support.gates import ENFORCED, TRAIN, make_terms, terms_table

W = {"record": "arrays", "name": "w", "dtype": "float64", "shape": [4]}
LOSS = {"record": "metrics", "name": "loss", "kind": "mean", "min": 0.0, "max": 1.0}
CLIP = {"mechanism": "clip", "clip_norm": 1.0}


def message(**changes: Any) -> dict[str, Any]:
    return {"messages": {"train": {"per_run": 1} | changes}}


def wrong(**changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        make_terms(**changes)
    return str(caught.value)


def test_complete_terms_are_read() -> None:
    assert make_terms().messages["train"].per_run == 3


@pytest.mark.parametrize(
    "table", ["project", "privacy", "messages", "validity", "schema"], ids=lambda name: f"without {name}"
)
def test_nothing_that_decides_may_be_left_out(table: str) -> None:
    stated = terms_table()
    del stated[table]
    with pytest.raises(InputError, match=table):
        parse_terms(stated)


@pytest.mark.parametrize(
    "path",
    [(), ("project",), ("data", "cohort"), ("messages", "train"), ("privacy",), ("limits",), ("validity",)],
)
def test_an_unknown_field_is_an_error_at_every_level(path: tuple[str, ...]) -> None:
    stated = terms_table()
    table = stated
    for key in path:
        table[key] = dict(table[key])
        table = table[key]
    table["epsilonmax"] = 1
    with pytest.raises(InputError, match="epsilonmax"):
        parse_terms(stated)


def test_another_schema_is_an_error() -> None:
    wrong(schema=2)


@pytest.mark.parametrize("kind", ["predict", "train.a.b", "query.flame_status", "query.flame_sa_setup", "TRAIN", ""])
def test_a_message_type_is_flowers_and_not_the_gates(kind: str) -> None:
    wrong(messages={kind: {"per_run": 1}})


@pytest.mark.parametrize(
    "rule",
    [
        {"dtype": "object"},
        {"dtype": "str"},
        {"shape": [-1]},
        {"shape": ["5<="]},
        {"shape": ["<=0"]},
        {"shape": [0.5]},
        {"shape": [1] * 33},
        {"name": ""},
        {"name": "a\x1b[2Jb"},
        {"name": "a\u202eb"},
        {"record": "flame"},
    ],
)
def test_an_array_rule_that_cannot_hold_is_an_error(rule: dict[str, Any]) -> None:
    wrong(**message(arrays=[W | rule]))


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "text"},
        {"min": 1.0, "max": 1.0},
        {"min": 2.0, "max": 1.0},
        {"max": float("inf")},
        {"min": float("nan")},
        {"max": 1e300},
        {"length": 0},
        {"record": "flame"},
    ],
)
def test_a_metric_rule_that_cannot_hold_is_an_error(rule: dict[str, Any]) -> None:
    wrong(**message(metrics=[LOSS | rule]))


def test_an_item_listed_twice_is_an_error() -> None:
    assert "twice" in wrong(**message(arrays=[W, W]))
    assert "twice" in wrong(**message(metrics=[LOSS, LOSS]))


def test_arrays_and_metrics_have_records_of_their_own() -> None:
    assert "own" in wrong(**message(arrays=[W], metrics=[LOSS | {"record": "arrays"}]))


def test_a_contract_that_could_never_be_met_is_an_error() -> None:
    assert "max_bytes" in wrong(**message(arrays=[W | {"shape": [2**31]}]))
    assert "max_bytes" in wrong(**message(arrays=[W], max_bytes=31))
    make_terms(**message(arrays=[W], max_bytes=32))


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": "none"},
        {"ground": "reviewed"},
        {"ground": "none"},
        {"mechanism": "none"},
        {"mechanism": "clip"},
        {"clip_norm": None},
        {"noise_multiplier": None},
        {"epsilon_max": None},
        {"delta": None},
        {"clip_norm": 0.0},
        {"clip_norm": 1e-300},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": 1e-9},
        {"epsilon_max": 0.0},
        {"delta": 0.0},
        {"delta": 1.0},
        {"metric_share": 0.0},
        {"unit": "patient"},
    ],
)
def test_a_claim_is_whole_or_an_error(changes: dict[str, Any]) -> None:
    wrong(privacy={k: v for k, v in (ENFORCED | changes).items() if v is not None})


def test_no_other_ground_may_state_a_unit() -> None:
    wrong(privacy={"unit": "site", "ground": "reviewed", "mechanism": "none"})


@pytest.mark.parametrize(
    ("privacy", "contract"),
    [
        (CLIP, {"arrays": [W | {"dtype": "int64"}]}),
        (ENFORCED, {"arrays": [W | {"dtype": "int64"}]}),
        (ENFORCED, {"arrays": [W | {"shape": ["<=4"]}]}),
        (ENFORCED, {"metrics": [LOSS | {"length": 3}]}),
        (ENFORCED, {"metrics": [{k: v for k, v in LOSS.items() if k != "max"}]}),
        (ENFORCED, {"metrics": [{k: v for k, v in LOSS.items() if k != "min"}]}),
    ],
)
def test_a_contract_that_cannot_carry_its_claim_is_an_error(privacy: dict[str, Any], contract: dict[str, Any]) -> None:
    assert "train" in wrong(privacy=privacy, **message(**contract))


def test_a_count_needs_no_range_under_a_claim() -> None:
    make_terms(privacy=ENFORCED, messages={"train": TRAIN})


def test_a_validity_that_ends_before_it_begins_is_an_error() -> None:
    wrong(validity={"from": date(2026, 2, 1), "until": date(2026, 1, 1)})


@pytest.mark.parametrize("text", ["", " ", "a\x1b[2Jb", "a\u202eb", "a\x00b", "a\u200bb"])
def test_text_for_the_steward_shows_what_it_says(text: str) -> None:
    stated = terms_table()
    wrong(project=stated["project"] | {"purpose": text})


def test_text_for_the_steward_may_have_lines_and_umlauts() -> None:
    stated = terms_table()
    make_terms(project=stated["project"] | {"purpose": "Erste Zeile,\nzweite für Ärzte: 95\u00a0%"})


def test_an_error_names_the_field_and_not_the_value() -> None:
    text = wrong(data={"cohort": {"table": "/home/erika/mustermann.csv", "patient_id": "id"}})
    assert "data.cohort.table" in text
    assert "erika" not in text


class TestOverrides:
    @pytest.mark.parametrize(
        "rule", [{}, {"min": 1}, {"max": 1}, {"min": 1, "max": 2, "one_of": [1]}, {"one_of": [1], "min": 1}]
    )
    def test_a_rule_closes_its_range_in_one_way(self, rule: dict[str, Any]) -> None:
        wrong(run_config={"rounds": rule})

    @pytest.mark.parametrize(
        ("value", "default", "allowed"),
        [
            (1, 3, True),
            (5, 3, True),
            (0, 3, False),
            (6, 3, False),
            (3.0, 3, False),
            (True, 3, False),
            ("3", 3, False),
            (2.5, 3.0, True),
            (float("nan"), 3.0, False),
            (float("inf"), 3.0, False),
            (3, 3.0, False),
            (10**400, 3, False),
            (True, True, False),
            ("a", "b", False),
        ],
    )
    def test_a_range_allows_numbers_of_the_defaults_type(self, value: Any, default: Any, allowed: bool) -> None:
        assert OverrideRule(min=1, max=5).allows(value, default) is allowed

    @pytest.mark.parametrize(
        ("value", "default", "allowed"),
        [("a", "b", True), ("c", "b", False), (1, 2, True), (True, False, False), (1.0, 2.0, False), (1, 2.0, False)],
    )
    def test_a_list_allows_its_values_of_the_same_type(self, value: Any, default: Any, allowed: bool) -> None:
        assert OverrideRule(one_of=("a", 1)).allows(value, default) is allowed


def test_a_contract_of_more_arrays_than_a_reply_can_list_is_an_error() -> None:
    """Or its first answer would leave, and could never be sent again."""
    arrays = [W | {"name": f"w{n}"} for n in range(10_001)]
    assert "more than one reply's header holds" in wrong(**message(arrays=arrays))


def test_a_contract_whose_names_fill_a_header_is_an_error() -> None:
    """Under an enforced claim a reply that cannot be framed would be a refusal."""
    metrics = [LOSS | {"name": f"{n}" + "ß" * 250} for n in range(1000)]
    assert "more than one reply's header holds" in wrong(**message(metrics=metrics))


def test_a_contract_of_long_lists_of_metrics_is_an_error() -> None:
    metrics = [LOSS | {"name": f"m{n}", "length": 10_000} for n in range(3)]
    assert "more than one reply's header holds" in wrong(**message(metrics=metrics))


@pytest.mark.parametrize("shape", [[0, 1 << 31, 1 << 31, 1 << 31], [1 << 31, 2]])
def test_a_shape_beyond_any_array_is_an_error(shape: list[int]) -> None:
    assert "beyond any array" in wrong(**message(arrays=[W | {"shape": shape}]))
