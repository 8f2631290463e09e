"""`[tool.flame.disclosure]`: strict unless somebody says why not."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flame_fl.contract.disclosure_terms import Disclosure, looser_than_default

WHY = "The ethics committee has seen the ratio."
# one change each, and a word of what the steward reads of it
LOOSER: list[tuple[dict[str, Any], str]] = [
    ({"min_cell": 9}, "Groups of 9"),
    ({"complementary": False}, "worked out"),
    ({"counts": "noise", "most_noise": 4}, "blurred by at most 4"),
    ({"max_numbers_per_patient": 0.34}, "0.34 numbers per patient"),
    ({"max_numbers_per_patient_in_total": 1.5}, "1.5 numbers per patient"),
    ({"dominance": 0.51}, "51 %"),
    ({"significant_digits": 7}, "7 digits"),
    ({"significant_digits": None}, "17 digits"),
    ({"compare_with": "analysis"}, "Other analyses"),
]
STRICTER: list[dict[str, Any]] = [
    {"min_cell": 20},
    {"counts": "refuse"},
    {"counts": "round"},
    {"counts": "round", "round_to": 25},
    {"counts": "noise"},
    {"counts": "noise", "most_noise": 8},
    {"max_numbers_per_patient": 0.1},
    {"max_numbers_per_patient_in_total": 0.5},
    {"dominance": 0.2},
    {"significant_digits": 3},
]


def disclosure(**changes: Any) -> Disclosure:
    return Disclosure.model_validate(changes)


def wrong(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        disclosure(**changes)
    return str(caught.value)


def test_the_defaults_need_no_exemption() -> None:
    assert looser_than_default(Disclosure()) == []


@pytest.mark.parametrize("change", STRICTER, ids=str)
def test_stricter_values_need_none_either(change: dict[str, Any]) -> None:
    assert looser_than_default(disclosure(**change)) == []


@pytest.mark.parametrize(("change", "word"), LOOSER, ids=str)
def test_a_looser_value_needs_a_reason_and_is_told(change: dict[str, Any], word: str) -> None:
    assert word in wrong(**change)
    (sentence,) = looser_than_default(disclosure(**change, exemption=WHY))
    assert word in sentence.en
    assert sentence.de
    assert sentence.de != sentence.en


def test_every_field_that_can_be_looser_is_in_the_list_above() -> None:
    """A field added later has to say when it is looser. What is not in the list chooses between rules, or is a text."""
    told = {name for change, _ in LOOSER for name in change}
    assert set(Disclosure.model_fields) - told == {"round_to", "exemption"}
    assert "counts" in told


def test_several_are_told_in_one_list() -> None:
    loose = disclosure(exemption=WHY, **{k: v for change, _ in LOOSER for k, v in change.items() if k != "counts"})
    # without "noise" the noise's size says nothing
    assert len(looser_than_default(loose)) == 7


def test_a_number_in_german_has_a_comma() -> None:
    (sentence,) = looser_than_default(disclosure(max_numbers_per_patient=0.5, exemption=WHY))
    assert "0,5 Zahlen" in sentence.de


def test_an_exemption_from_nothing_is_an_error() -> None:
    assert "nothing is looser" in wrong(exemption=WHY)


def test_an_exemption_is_a_sentence_that_can_be_read() -> None:
    assert "exemption" in wrong(min_cell=5, exemption=" ")
    assert "exemption" in wrong(min_cell=5, exemption="fine\u202e")


def test_rounding_must_not_tell_small_counts() -> None:
    assert "below min_cell" in wrong(counts="round", round_to=9)
    disclosure(counts="suppress", round_to=9)  # it is not used


def test_noise_must_not_make_a_cell_of_nobody() -> None:
    assert "must be below min_cell" in wrong(counts="noise", most_noise=10)


@pytest.mark.parametrize(
    "change",
    [
        {"min_cell": 0},
        {"most_noise": 5},
        {"most_noise": 0},
        {"dominance": 0},
        {"dominance": 1.1},
        {"max_numbers_per_patient": 0},
        {"max_numbers_per_patient": float("inf")},
        {"significant_digits": 0},
        {"counts": "shown"},
        {"mincell": 10},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    wrong(exemption=WHY, **change)


def test_the_document_names_every_field_with_its_default() -> None:
    """In docs/disclosure.md, as "`field`, default"."""
    text = (Path(__file__).parents[3] / "docs" / "disclosure.md").read_text(encoding="utf-8")
    for name, field in Disclosure.model_fields.items():
        if name == "exemption":
            continue
        shown = json.dumps(field.default)
        assert f"`{name}`, {shown}" in text, name
