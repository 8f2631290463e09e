"""A DIZ's part in pruning: sums of products of near variants, for linkage disequilibrium.

| query   | asks                                                 | answers                                            |
|---------|------------------------------------------------------|----------------------------------------------------|
| gwas_ld | ld_index, ld_mean, ld_scale (t,), rows in the config | carriers (rows, 2), band (rows, w): element (i, d) |
|         |                                                      | the sum over samples of x_i x_{i+d}, 0 beyond t    |

x are the columns of `site_scaled`: less the pooled mean, over the scale. The window w is the run config's
``ld-window``, the variants lie on one chromosome, and those after the first `rows` are there for their products alone:
whoever prunes a chromosome asks for it in stretches that overlap by w - 1.

`carriers` guards the rows. The other variant of a product is held to the rule of `site_scaled`.
"""

import numpy as np

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Answer, Arrays, Float, Request, Site
from gwas.site_design import analysed
from gwas.site_scaled import BLOCK, carriers, centred_variants, scaled

MOST_ROWS = 5_000
"""In one answer; the release contract states the same."""


def gwas_ld(site: Site, request: Request, settings: Settings) -> Arrays:
    """Products of each variant with itself and the next ones.

    Raises:
        InputError: The variants are not those of one stretch.
    """
    index, mean, scale = centred_variants(site, request, "ld")
    rows, width = int(request.config.get("rows", 0)), settings.ld_window
    if not (1 <= rows <= min(len(index), MOST_ROWS) and len(index) - rows < width):
        raise InputError("The message asks for another stretch of variants than rows and a window after them.")
    if len(np.unique(site.panel.chromosome[index])) > 1:
        raise InputError("The message asks for correlations of variants on two chromosomes.")
    keep = analysed(site, settings)
    guard, band = np.zeros((rows, 2), dtype=np.int64), np.zeros((rows, width))
    step = max(BLOCK, width)
    for start in range(0, rows, step):
        of = slice(start, min(start + step + width - 1, len(index)))
        calls = site.genotypes.pick(index[of])[keep]
        x = scaled(calls, mean[of], scale[of])
        here = min(step, rows - start)
        guard[start : start + here] = carriers(calls[:, :here])
        band[start : start + here] = banded(x, here, width)
    return {"carriers": guard, "band": band}


def banded(x: Float, rows: int, width: int) -> Float:
    """(rows, width) products of column i of x (n, t) with column i + d, 0 beyond the last."""
    band = np.zeros((rows, width))
    for start in range(0, rows, width):
        stop = min(start + width, rows)
        after = x[:, start : stop + width - 1]
        products = np.zeros((stop - start, stop - start + width - 1))
        products[:, : after.shape[1]] = x[:, start:stop].T @ after
        places = np.arange(stop - start)[:, None] + np.arange(width)
        band[start:stop] = np.take_along_axis(products, places, axis=1)
    return band


ANSWERS: dict[str, Answer] = {"gwas_ld": gwas_ld}
"""By the query's name without ``query.``."""
