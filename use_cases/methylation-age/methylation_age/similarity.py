"""A penalty for a tissue of which no age is known, from tissues of which some are: wenda's prior knowledge.

For each tissue whose samples have ages the best penalty on its own path is known. The more a tissue is like the
training samples' tissue, the smaller that penalty is, as a rule; a line of the logarithm of the penalty against the
similarity then says what to take for another tissue (Handl et al., Bioinformatics 35, 2019, i154, "wenda-pn"). The
similarities come from outside, for instance from gene expression; only their order and spacing matter.
"""

from collections.abc import Mapping

import numpy as np

from methylation_age.errors import InputError


def parse(text: str) -> dict[str, float]:
    """Similarities by tissue, from "liver=0.8 whole_blood=0.3"; a name with blanks has underscores instead.

    Raises:
        InputError: It is not of this form.
    """
    found: dict[str, float] = {}
    for item in text.split():
        name, separator, value = item.rpartition("=")
        try:
            found[name.replace("_", " ")] = float(value)
        except ValueError:
            separator = ""
        if not separator or not name:
            raise InputError(f"{item!r} is no similarity; write tissue=number, blanks in names as underscores.")
    if not all(np.isfinite(value) for value in found.values()):
        raise InputError("Similarities must be finite numbers.")
    return found


def predicted_penalty(best: Mapping[str, float], similarity: Mapping[str, float], tissue: str) -> float:
    """The penalty for a tissue: the least-squares line of log penalty against similarity, at the tissue's similarity.

    Args:
        best: Best penalty by tissue of known ages.
        similarity: Of these tissues and of `tissue`.
        tissue: Of unknown ages.

    Raises:
        InputError: There are no two tissues of different similarity, or a similarity is missing.
    """
    if missing := sorted({*best, tissue} - set(similarity)):
        raise InputError(f"There is no similarity of the tissue {missing[0]!r}; add it to the run config.")
    x = np.array([similarity[name] for name in best])
    y = np.log([best[name] for name in best])
    if len(best) < 2 or np.ptp(x) == 0.0:
        raise InputError("A line needs two tissues of known ages and different similarity; use another penalty-rule.")
    slope, intercept = np.polyfit(x, y, 1)
    return float(np.exp(intercept + slope * similarity[tissue]))
