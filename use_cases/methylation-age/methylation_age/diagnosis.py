"""Whether weights can help for a target tissue, judged from the confidences alone: no age of the target is needed.

Adaptation rests on one assumption: most CpGs keep their relations to the others in the target, and a minority loses
them (Handl et al., Bioinformatics 35, 2019, i154). Both halves can be seen.

* A CpG whose model holds has confidences that are uniform between 0 and 1, mean 1/2. The median over all CpGs lies
  there while most models hold, and a little lower where up to a third is lost: then it is some lower quantile of the
  sound ones, whose means scatter. Under `LEAST_MEDIAN` most CpGs are foretold worse than the models claim, and there is
  nothing sound to put the weight on.
* A mean confidence over m samples has a standard deviation of 0.29 / root m where nothing shifts: 0.09 for the 10
  samples that are asked for at least, so that under `LOW` are 0.3 % of the sound CpGs. Where hardly more are, no CpG
  stands out, the weights follow chance or age, and an elastic net that follows them loses to the plain one.

Measured with power 3 on GSE74193 (brain) and the GP-age blood set; error of the weighted elastic net as a share of the
plain one's, both at the one-standard-error penalty (l1 ratio 0.5). The shifts are SEMI-REAL, six seeds each::

    source -> target                  CpGs   median     under LOW      error      verdict
    permuted shift                    7,503  0.64       0.096 - 0.105  0.33-0.46  helps
    flipped shift                     7,503  0.49       0.123 - 0.128  0.18-0.22  helps
    mean shift                        7,503  0.55       0.097 - 0.106  0.49-0.65  helps
    adult -> foetal brain             7,503  0.50       0.239          0.22       helps
    postnatal -> foetal brain         7,503  0.53       0.138          1.23       helps (wrongly: 0.11 for 0.09 years)
    adult -> children's brain         7,503  0.51       0.003          1.03       no CpG stands out
    brain, no shift                   7,503  0.51       0.000          1.03       no CpG stands out
    brain over 45 -> 18 to 40         7,503  0.51       0.000          1.14       no CpG stands out
    brain under 45 -> over 55         7,503  0.51       0.000          0.84       no CpG stands out
    brain 18 to 45 -> over 55         7,503  0.51       0.000          1.03       no CpG stands out
    blood under 40 -> over 60            71  0.40       0.042          1.10       most are lost
    blood over 50 -> under 40            71  0.49       0.028          1.09       no CpG stands out
    blood adults -> children             71  0.49       0.000          1.00       no CpG stands out
    blood -> brain                       19  0.22       0.632          0.99       most are lost
    brain -> blood                       19  0.09       0.737          1.26       most are lost
    adult brain -> adult blood           19  0.07       0.789          1.15       most are lost

`LEAST_MEDIAN` lies in the gap between 0.40 and 0.49, `LEAST_SHARE` in that between 0.042 and 0.096. Both were chosen on
these data: they are a guard against what is known to fail, not a promise. What the confidences cannot show is whether
the age itself is foretold otherwise in the target.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LOW = 0.25
"""A mean confidence that a CpG whose model holds hardly has."""

LEAST_MEDIAN = 0.45
"""A median under this says that most CpGs lost their relations."""

LEAST_SHARE = 0.07
"""With a smaller share of the CpGs under `LOW` none stands out."""


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
