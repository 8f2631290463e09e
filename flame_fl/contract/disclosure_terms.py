"""`[tool.flame.disclosure]`: disclosure control of what leaves without an arithmetic claim. On by default.

Every default is at least as strict as DataSHIELD's (docs/disclosure.md has them side by side). A value that is looser
than the default stands only beside an `exemption`, a sentence that says why, which the steward reads and signs with the
rest of the terms.
"""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from flame_fl.contract.words import Frozen, Text

MIN_CELL = 10
MOST_NOISE = 6
NUMBERS_PER_PATIENT = 0.33
NUMBERS_PER_PATIENT_IN_TOTAL = 1.0
DOMINANCE = 0.5
SIGNIFICANT_DIGITS = 6

Ratio = Annotated[float, Field(gt=0, le=1e12)]


class Sentence(NamedTuple):
    """One statement for a steward."""

    en: str
    de: str


class Disclosure(Frozen):
    """Rules for what leaves under the grounds `none` and `reviewed`.

    They protect from what somebody asks of an honest program. A program that lies about what its numbers are is not
    stopped by them: there the ground needs to be `enforced`.
    """

    min_cell: Annotated[int, Field(ge=1, le=1_000_000)] = MIN_CELL
    """Fewest patients in a cell of a table, behind a rate, or behind an element of a sum. None at all is shown."""
    counts: Literal["suppress", "round", "noise", "refuse"] = "suppress"
    """What becomes of counts: small ones leave as 0; all are rounded; all get noise that repeating does not remove; or
    nothing leaves (904) where one is small."""
    complementary: bool = True
    """With "suppress": the next smallest cell leaves as 0 too where a margin would give a small one away."""
    round_to: Annotated[int, Field(ge=2, le=1_000_000)] = MIN_CELL
    """With "round": the multiple that counts are rounded to; at least min_cell."""
    most_noise: Annotated[int, Field(ge=2, le=1000, multiple_of=2)] = MOST_NOISE
    """With "noise": how far a count moves at most; below min_cell."""
    max_numbers_per_patient: Ratio = NUMBERS_PER_PATIENT
    """Numbers in one answer, per patient of the smallest cohort."""
    max_numbers_per_patient_in_total: Ratio = NUMBERS_PER_PATIENT_IN_TOTAL
    """Numbers in all answers of the analysis, over all runs, stay below so many per patient."""
    dominance: Annotated[float, Field(gt=0, le=1)] = DOMINANCE
    """Largest share of one patient in an element's sum of absolute contributions."""
    significant_digits: Annotated[int, Field(ge=1, le=17)] | None = SIGNIFICANT_DIGITS
    """Digits of a metric that is no count; none leaves it exact."""
    compare_with: Literal["store", "analysis"] = "store"
    """A cohort is compared with those of earlier releases of every analysis of the same data store, or of this one."""
    exemption: Text | None = None
    """Why values looser than the defaults are right here; it is part of what the steward signs."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.counts == "round" and self.round_to < self.min_cell:
            raise ValueError("round_to is below min_cell: a rounded count would still tell a small one")
        if self.counts == "noise" and self.most_noise >= self.min_cell:
            raise ValueError("most_noise must be below min_cell: else nobody could look like a cell")
        looser = looser_than_default(self)
        if looser and self.exemption is None:
            raise ValueError(f"looser than the default without an exemption that says why: {looser[0].en}")
        if self.exemption is not None and not looser:
            raise ValueError("there is an exemption, but nothing is looser than the default")
        return self


def looser_than_default(terms: Disclosure) -> list[Sentence]:
    """What the terms allow beyond the defaults, for the steward's sheet; empty if nothing."""
    said: list[Sentence] = []

    def say(en: str, de: str) -> None:
        said.append(Sentence(en, de))

    if terms.min_cell < MIN_CELL:
        say(
            f"Groups of {terms.min_cell} patients may be shown; the default is {MIN_CELL}.",
            f"Gruppen ab {terms.min_cell} Personen dürfen gezeigt werden; üblich sind hier {MIN_CELL}.",
        )
    if terms.counts == "suppress" and not terms.complementary:
        say(
            "A hidden count can be worked out from its table's total.",
            "Eine verborgene Anzahl lässt sich aus der Summe ihrer Tabelle errechnen.",
        )
    if terms.counts == "noise" and terms.most_noise < MOST_NOISE:
        say(
            f"Counts are blurred by at most {terms.most_noise}; the default is {MOST_NOISE}.",
            f"Anzahlen werden um höchstens {terms.most_noise} verändert; üblich sind hier {MOST_NOISE}.",
        )
    if terms.max_numbers_per_patient > NUMBERS_PER_PATIENT:
        say(
            f"One answer may hold {terms.max_numbers_per_patient:g} numbers per patient; the default is"
            f" {NUMBERS_PER_PATIENT:g}.",
            f"Eine Antwort darf {_german(terms.max_numbers_per_patient)} Zahlen je Person enthalten; üblich sind hier"
            f" {_german(NUMBERS_PER_PATIENT)}.",
        )
    if terms.max_numbers_per_patient_in_total > NUMBERS_PER_PATIENT_IN_TOTAL:
        say(
            f"All answers together may hold {terms.max_numbers_per_patient_in_total:g} numbers per patient. From"
            f" {NUMBERS_PER_PATIENT_IN_TOTAL:g} on, single patients' values can be solved for like unknowns.",
            f"Alle Antworten zusammen dürfen {_german(terms.max_numbers_per_patient_in_total)} Zahlen je Person"
            f" enthalten. Ab {_german(NUMBERS_PER_PATIENT_IN_TOTAL)} lassen sich Angaben Einzelner wie Unbekannte aus"
            " Gleichungen bestimmen.",
        )
    if terms.dominance > DOMINANCE:
        say(
            f"One patient may make up {100 * terms.dominance:.0f} % of a sum; the default is {100 * DOMINANCE:.0f} %.",
            f"Eine Person darf {100 * terms.dominance:.0f} % einer Summe ausmachen; üblich sind hier"
            f" {100 * DOMINANCE:.0f} %.",
        )
    if terms.significant_digits is None or terms.significant_digits > SIGNIFICANT_DIGITS:
        digits = terms.significant_digits or 17
        say(
            f"Figures leave with {digits} digits; the default is {SIGNIFICANT_DIGITS}. The last can carry anything.",
            f"Kennzahlen verlassen das Haus mit {digits} Stellen; üblich sind hier {SIGNIFICANT_DIGITS}. Die letzten"
            " können Beliebiges enthalten.",
        )
    if terms.compare_with == "analysis":
        say(
            "Other analyses' answers are not looked at: two of them could differ by a single patient.",
            "Antworten anderer Analysen bleiben außer Betracht: Zwei könnten sich um eine Person unterscheiden.",
        )
    return said


def _german(value: float) -> str:
    return f"{value:g}".replace(".", ",")
