"""A DIZ's part in principal components: products of X'X with a block of vectors, X its standardised genotypes.

| query    | asks                                                | answers                                          |
|----------|-----------------------------------------------------|--------------------------------------------------|
| gwas_pca | pca_index, pca_mean, pca_scale (p1,), basis (p1, b) | carriers (p1, 2), product (p1, b): X' (X basis), |
|          |                                                     | spread (1,): the sum of squares of X, n (1,)     |

X has (g - 2 f) / sqrt(2 f (1 - f)) where mean and scale are those (Patterson, Price and Reich, PLoS Genetics 2, 2006),
a missing call being this DIZ's most frequent one. The scores X basis stay here; so do the principal components, which a
DIZ makes from loadings when they are covariates (`site_design`).

What a hub gets from bases of its choice. Each column of an answer is X'X w for a w of its choice, over all DIZ: a
column of the matrix of second moments if w is one variant. As many columns as there are patients in all give X'X
whole, which determines the genotypes but for who is who. So b is at most the run config's number of components and
`EXTRA_COLUMNS`, the terms bound how often this is asked (``per_run``), and both together should stay well below the
number of patients. A variant that few carry has no weight (`site_few`; `site_scaled` says what remains possible) and no
row (the guard). The basis cannot be checked: an honest one follows from answers that no DIZ has seen unmasked.
"""

import numpy as np

from gwas.errors import InputError
from gwas.settings import Settings
from gwas.site import Answer, Arrays, Request, Site
from gwas.site_design import analysed
from gwas.site_scaled import blocks, carriers, numbers, variants

EXTRA_COLUMNS = 10
"""Of a basis beside one for each component: they shorten the way."""

MOST_VARIANTS = 100_000
"""In one answer; the release contract states the same."""


def gwas_pca(site: Site, request: Request, settings: Settings) -> Arrays:
    """The product of X'X with a basis.

    Raises:
        InputError: The variants or the basis are not of the form that a fit has.
    """
    index, basis = variants(site, request, "pca_index"), request.arrays.get("basis")
    if len(index) > MOST_VARIANTS:
        raise InputError(f"Principal components are of at most {MOST_VARIANTS} variants.")
    most = settings.pcs + EXTRA_COLUMNS
    if basis is None or basis.ndim != 2 or not 1 <= basis.shape[1] <= most:
        raise InputError(f"A basis for {settings.pcs} components has at most {most} columns.")
    basis = numbers(request, "basis", (len(index), basis.shape[1]))
    keep = analysed(site, settings)
    scores = np.zeros((int(keep.sum()), basis.shape[1]))
    guard, squares = np.zeros((len(index), 2), dtype=np.int64), 0.0
    for of, calls, x in blocks(site, request, settings, keep, "pca"):
        scores += x @ basis[of]
        guard[of] = carriers(calls)
        squares += float(np.vdot(x, x))
    product = np.zeros(basis.shape)
    for of, _, x in blocks(site, request, settings, keep, "pca"):
        product[of] = x.T @ scores
    return {
        "n": np.array([len(scores)], dtype=np.int64),
        "carriers": guard,
        "product": product,
        "spread": np.array([squares]),
    }


ANSWERS: dict[str, Answer] = {"gwas_pca": gwas_pca}
"""By the query's name without ``query.``."""
