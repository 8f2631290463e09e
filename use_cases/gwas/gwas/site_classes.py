"""Into which groups a message's sums fall apart, so that a gate holds back what is about few people.

Sums with the columns of the design are sums over each declared level of a category as well, and sums with a disease are
of cases and of controls. A level with one patient makes a row of sums that patient's genotype, trait and age. And at
coefficients of a hub's choice, second derivatives of logistic models are weighted sums over those with no copy of an
allele, one, and two, with weights that differ: three answers tell them apart.

Groups are counted row by row, in two arrays that do not leave:

* ``carriers``: a row leaves only if each count reaches `min_total` over all DIZ: the groups in a variant's test;
* ``classes``: likewise, or if it is nobody (``guard_zero`` of the release contract): the groups among those who leave
  the test, genotypes, and groups of sums without a variant.

One more count of ``carriers`` holds a row back that fewer than ``min-sites`` DIZ contribute to: each counts as no more
than its part of ``min-carriers``.

A minimum-count test takes time for each of these counts, twice for classes, and is of 2^18 at most. Many levels need a
smaller ``chunk`` and wider bounds in the contract.
"""

import numpy as np

from gwas.settings import Settings
from gwas.site import Bool, Float, Int, Site
from gwas.site_calls import Calls
from gwas.site_design import phenotype

_BLOCK = 200_000
"""Calls that are looked at at once."""


def groups(site: Site, settings: Settings, keep: Bool) -> Float:
    """(kept, L) 0 or 1: each declared level of each category, the first as well; controls and cases; else everyone.

    Args:
        site: The DIZ's data.
        settings: The approved run config's: covariates, levels, and whether the phenotype is a disease.
        keep: (n,) which samples.
    """
    found: list[Float] = []
    for name in settings.categorical:
        codes = site.code(name)[keep]
        found += [(codes == level).astype(np.float64) for level in range(len(settings.levels[name]))]
    if settings.binary:
        cases = phenotype(site, settings)[keep]
        found += [(cases == 0).astype(np.float64), (cases == 1).astype(np.float64)]
    return np.column_stack(found) if found else np.ones((int(keep.sum()), 1))


def everyone(of: Float) -> Int:
    """(1, L) people of each group, of (kept, L)."""
    return np.asarray(np.rint(of.sum(axis=0, keepdims=True)), dtype=np.int64)


def with_a_call(calls: Calls, of: Float) -> Int:
    """(m, L) people of each group (n, L) that have a call, of calls (n, m)."""
    found = np.empty((calls.shape[1], of.shape[1]))
    step = max(1, _BLOCK // max(len(calls), 1))
    for start in range(0, len(found), step):
        rows = slice(start, start + step)
        found[rows] = (calls.T[rows] >= 0).astype(np.float64) @ of
    return np.rint(found).astype(np.int64)


def by_site(people: Int, settings: Settings) -> Int:
    """(m, 1) what a DIZ counts as: over fewer than ``min-sites`` of them, these stay below ``min-carriers``."""
    part = -(-settings.min_carriers // settings.min_sites)
    return np.asarray(np.minimum(people, part)[:, None], dtype=np.int64)
