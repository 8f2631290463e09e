"""How many of a sample's genotypes were not called: what a DIZ can say of its samples without anybody's help.

The share is over all variants that the DIZ has of the panel, before any of them is left out, as PLINK's ``--mind`` has
it; those of Y count for males alone.
"""

import numpy as np

from gwas.panel import Y
from gwas.site import MALE, Float, Site
from gwas.site_cache import digest, remember

_WIDTH = 4_096
"""Variants that are read at once; their number must fit into 16 bits."""


def missing_share(site: Site) -> Float:
    """(n,) the share of each sample's genotypes that were not called; 1 where the DIZ has none of the variants."""
    return remember(site, digest("missing"), lambda: _missing_share(site), lasting=True)


def _missing_share(site: Site) -> Float:
    missing, present = np.zeros((2, site.samples), dtype=np.int64)
    for start, stop in site.panel.chunks(_WIDTH):
        there = np.flatnonzero(site.genotypes.present[start:stop]) + start
        if not len(there):
            continue
        calls = site.genotypes.pick(there)
        counted = site.sex == MALE if site.panel.chromosome[start] == Y else np.ones(site.samples, dtype=np.bool_)
        missing += np.where(counted, (calls.T < 0).sum(axis=0, dtype=np.uint16), 0)
        present += np.where(counted, len(there), 0)
    return np.where(present > 0, missing / np.maximum(present, 1), 1.0)
