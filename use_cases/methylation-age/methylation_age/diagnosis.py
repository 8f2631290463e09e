"""Whether weights can help for a target tissue, judged from the confidences alone: no age of the target is needed.

Adaptation rests on one assumption: most CpGs keep their relations to the others in the target, and a minority loses
them (Handl et al., Bioinformatics 35, 2019, i154). Both halves can be seen.

* A CpG whose model holds has confidences that are uniform between 0 and 1, mean 1/2; CpGs that lost their relations
  widen the predictive variance of all others and push these above 1/2. A median over the CpGs under 1/2 therefore says
  that for most of them the source's models foretell too little: there is nothing sound to put the weight on.
* A mean confidence over m samples has a standard deviation of 0.29 / root m where nothing shifts: 0.05 for 30 samples.
  CpGs under `LOW` are then three of those below 1/2. Where next to none is, no CpG stands out, the weights follow
  chance, and an elastic net that follows them loses to the plain one.

Measured on GSE74193 (brain) and the GP-age blood set, power 3, one-standard-error rule, error as a share of the plain
elastic net's:

===================================================  =======  =========  ===========
source -> target                                     median   under LOW  error ratio
===================================================  =======  =========  ===========
TABLE
===================================================  =======  =========  ===========

"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LOW = 0.25
"""A mean confidence that a CpG with a sound model hardly has."""

LEAST_MEDIAN = 0.45
"""A median under this says that most CpGs lost their relations."""

LEAST_SHARE = 0.07
"""With fewer CpGs than this under `LOW` none stands out."""


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on one target.

    Attributes:
        median: Of the CpGs' mean confidences; NaN if there are none.
        low_share: Share of the CpGs with a mean confidence under `LOW`; NaN if there are none.
        helps: Whether to weight the elastic net; else fall back to the plain one.
        reason: Why, in a sentence.
    """

    median: float
    low_share: float
    helps: bool
    reason: str


def diagnose(mean_confidence: npt.NDArray[np.float64]) -> Diagnosis:
    """Judge a target.

    Args:
        mean_confidence: (p,) mean confidence of each CpG over the target's samples, NaN where there is none.
    """
    known = mean_confidence[~np.isnan(mean_confidence)]
    if not known.size:
        text = "No CpG has a confidence: there is nothing to adapt with, and the plain elastic net is used."
        return Diagnosis(float("nan"), float("nan"), helps=False, reason=text)
    median, share = float(np.median(known)), float((known < LOW).mean())
    found = f"the median confidence is {median:.2f} and {share:.0%} of the CpGs are under {LOW}"
    if median < LEAST_MEDIAN:
        text = f"Most CpGs lose their relations in the target ({found}): weights cannot help, the plain net is used."
        return Diagnosis(median, share, helps=False, reason=text)
    if share < LEAST_SHARE:
        text = f"No CpGs stand out in the target ({found}): there is nothing to adapt to, the plain net is used."
        return Diagnosis(median, share, helps=False, reason=text)
    text = f"Most CpGs keep their relations in the target and some lose them ({found}): weights can help."
    return Diagnosis(median, share, helps=True, reason=text)
