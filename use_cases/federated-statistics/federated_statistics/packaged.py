"""Public sets that installed packages carry, with readable names; nothing is downloaded.

=============  =============  ==========================================================================================
set            package        what
=============  =============  ==========================================================================================
breast-cancer  scikit-learn   Wisconsin Diagnostic Breast Cancer: 569 fine-needle aspirates, 30 measures of cell nuclei
diabetes       scikit-learn   442 patients, ten baseline variables and disease progression after a year (Efron et al.,
                              "Least angle regression", Annals of Statistics 32, 2004), in the measured units
randhie        statsmodels    RAND Health Insurance Experiment: 20 190 person-years, outpatient visits to a doctor
lung           lifelines      North Central Cancer Treatment Group: survival of 228 patients with advanced lung cancer,
                              with missing values, from 18 institutions
gbsg2          lifelines      German Breast Cancer Study Group 2: 686 patients, recurrence-free survival
=============  =============  ==========================================================================================
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import pandas as pd

from federated_statistics.errors import InputError

INSTITUTION = "institution"
"""Where a set says which hospital a row is from; not written into the stores."""


def load(name: str) -> pd.DataFrame:
    """One row per record, without ids.

    Raises:
        InputError: There is no such set, or its package is not installed.
    """
    if name not in SETS:
        raise InputError(f"There is no packaged set {name!r}; choose one of {', '.join(SETS)}.")
    try:
        return SETS[name]()
    except ImportError as error:
        raise InputError(f"The set {name} is in a package that is not installed: pip install {error.name}.") from None


def _breast_cancer() -> pd.DataFrame:
    bunch = _module("sklearn.datasets", "scikit-learn").load_breast_cancer(as_frame=True)
    frame: pd.DataFrame = bunch.data.rename(columns=lambda name: name.replace(" ", "_"))
    frame["malignant"] = 1 - bunch.target  # the package has 0 for malignant
    frame["diagnosis"] = frame["malignant"].map({0: "benign", 1: "malignant"})
    frame["large"] = (frame["mean_radius"] > 15).map({False: "no", True: "yes"})
    return frame


def _diabetes() -> pd.DataFrame:
    bunch = _module("sklearn.datasets", "scikit-learn").load_diabetes(as_frame=True, scaled=False)
    frame: pd.DataFrame = bunch.data.assign(progression=bunch.target)
    return frame


def _randhie() -> pd.DataFrame:
    frame: pd.DataFrame = _module("statsmodels.datasets", "statsmodels").randhie.load_pandas().data
    word = pd.Series("excellent", index=frame.index)
    for column, level in (("hlthg", "good"), ("hlthf", "fair"), ("hlthp", "poor")):
        word = word.mask(frame[column] == 1, level)
    return frame.drop(columns=["hlthg", "hlthf", "hlthp"]).assign(health=word)


def _lung() -> pd.DataFrame:
    frame: pd.DataFrame = _module("lifelines.datasets", "lifelines").load_lung()
    frame = frame.rename(columns=lambda name: name.replace(".", "_"))
    frame["sex"] = frame["sex"].map({1: "male", 2: "female"})
    return frame.rename(columns={"inst": INSTITUTION, "status": "died"})


def _gbsg2() -> pd.DataFrame:
    frame: pd.DataFrame = _module("lifelines.datasets", "lifelines").load_gbsg2()
    return frame.rename(columns={"cens": "event"})


SETS: Mapping[str, Callable[[], pd.DataFrame]] = {
    "breast-cancer": _breast_cancer,
    "diabetes": _diabetes,
    "randhie": _randhie,
    "lung": _lung,
    "gbsg2": _gbsg2,
}


def _module(name: str, distribution: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(name=distribution) from None
