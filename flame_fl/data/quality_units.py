"""Two units in one column: a laboratory value that is partly in mg/dL and partly in mmol/L is twice in the data.

Which columns are looked at is decided by their names: words, or a LOINC code in them. Units are written in UCUM.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_LEAST, _LEAST_SHARE = 5, 0.01  # of a second unit: fewer values are outliers
_APART = 3.0  # the least distance of two groups' centres, in their own standard deviations
_TOLERANCE = 0.25  # by which share of the expected distance (of logarithms) theirs may differ


@dataclass(frozen=True)
class Analyte:
    """A measured thing with two usual units.

    Attributes:
        words: Parts of a column's name, in lower case; those of five letters and more may be a part's beginning.
        loinc: Codes that a column's name may hold, for the first and for the second unit.
        units: The two, in UCUM.
        factor: What a number in the first unit is multiplied by to be in the second.
    """

    name: str
    words: tuple[str, ...]
    loinc: tuple[str, ...]
    units: tuple[str, str]
    factor: float


ANALYTES = (
    Analyte("haemoglobin", ("hb", "hgb", "haemoglobin", "hemoglobin", "hämoglobin", "haemoglob"),
            ("718-7", "59260-0"), ("g/dL", "mmol/L"), 0.6206),
    Analyte("glucose", ("glucose", "glukose", "gluc", "glc", "bz", "blutzucker"),
            ("2345-7", "14749-6"), ("mg/dL", "mmol/L"), 0.05551),
    Analyte("creatinine", ("crea", "krea", "creatinin", "kreatinin"),
            ("2160-0", "14682-9"), ("mg/dL", "umol/L"), 88.42),
    Analyte("cholesterol", ("chol", "cholesterol", "cholesterin", "hdl", "ldl"),
            ("2093-3", "14647-2"), ("mg/dL", "mmol/L"), 0.02586),
    Analyte("triglycerides", ("tg", "trigly", "triglycerid"), ("2571-8", "14927-8"), ("mg/dL", "mmol/L"), 0.01129),
    Analyte("urea", ("urea", "harnstoff"), ("3091-6", "22664-7"), ("mg/dL", "mmol/L"), 0.1665),
    Analyte("urate", ("urate", "uric", "harnsäure", "harnsaeure"),
            ("3084-1", "14933-6"), ("mg/dL", "umol/L"), 59.48),
    Analyte("bilirubin", ("bili", "bilirubin"), ("1975-2", "14631-6"), ("mg/dL", "umol/L"), 17.1),
    Analyte("calcium", ("ca", "calcium", "kalzium"), ("17861-6", "2000-8"), ("mg/dL", "mmol/L"), 0.2495),
    Analyte("body height", ("height", "groesse", "größe"), ("8302-2",), ("m", "cm"), 100.0),
    Analyte("body weight", ("weight", "gewicht"), ("29463-7",), ("kg", "[lb_av]"), 2.2046),
)  # fmt: skip


@dataclass(frozen=True)
class TwoUnits:
    """Two groups of values that lie a conversion factor apart: how many seem to be in which unit."""

    analyte: Analyte
    first: int
    second: int


def analyte_of(column: str) -> Analyte | None:
    """What a column's name says that it measures."""
    split = re.sub(r"(?<=[a-zäöüß])(?=[A-ZÄÖÜ])", " ", column).lower()
    parts = re.split(r"[^a-zäöüß0-9]+", split)
    codes = set(re.findall(r"(?<!\d)\d{3,5}-\d(?!\d)", column))
    for analyte in ANALYTES:
        long = tuple(word for word in analyte.words if len(word) >= 5)
        if codes & set(analyte.loinc) or any(p in analyte.words or (long and p.startswith(long)) for p in parts):
            return analyte
    return None


def two_units(column: str, values: Values) -> TwoUnits | None:
    """Whether a column seems to hold two units of what its name says.

    Args:
        column: Its name.
        values: Finite numbers.
    """
    analyte = analyte_of(column)
    logs = np.log(values[values > 0])
    if analyte is None or len(logs) < 2 * _LEAST:
        return None
    step = float(np.log(analyte.factor))
    middle = float(np.median(logs))
    for first in (middle, middle - step):
        if (counts := _groups(logs, first, step)) is not None:
            return TwoUnits(analyte, *counts)
    return None


def _groups(logs: Values, first: float, step: float) -> tuple[int, int] | None:
    """How many values are near `first` and near `first + step`, if those are the centres of two groups.

    Lloyd's algorithm with one free centre, for the distance of the two is known; medians, for outliers not to matter.
    """
    for _ in range(20):
        second = np.abs(logs - first - step) < np.abs(logs - first)
        moved = float(np.median(logs - step * second))
        if np.isclose(moved, first):
            break
        first = moved
    parts = logs[~second], logs[second]
    if min(map(len, parts)) < max(_LEAST, _LEAST_SHARE * len(logs)):
        return None
    # The upper end of a single group would be such a part too, but with its own centre too near to the other one.
    distance = float(np.median(parts[1]) - np.median(parts[0]))
    spread = float(np.std(logs - step * second))
    if abs(distance - step) > _TOLERANCE * abs(step) or abs(distance) < _APART * spread:
        return None
    return len(parts[0]), len(parts[1])
