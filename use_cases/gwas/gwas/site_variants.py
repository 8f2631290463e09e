"""What a DIZ says of its variants: how each of the panel's is found there, by the codes of `harmonise`."""

from collections.abc import Mapping

import numpy as np

from gwas.harmonise import CODES
from gwas.settings import Settings
from gwas.site import Answer, Arrays, Request, Site


def variants(site: Site, request: Request, settings: Settings) -> Arrays:
    """(m, `CODES`): 1 at each variant's code; summed, how many DIZ have which."""
    start, stop = request.span
    codes = site.genotypes.harmony[start:stop]
    return {"harmony": (codes[:, None] == np.arange(CODES)).astype(np.int64)}


ANSWERS: Mapping[str, Answer] = {"gwas_variants": variants}
