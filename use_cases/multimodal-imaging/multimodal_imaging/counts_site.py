"""How many patients, with which modalities, and what was wrong with images: the first question of every run."""

import numpy as np

from multimodal_imaging.image_store import counted
from multimodal_imaging.site import Answer, Arrays, Bool, Request, Site


def mm_counts(site: Site, request: Request) -> Arrays:
    """Counts of a DIZ.

    Returns:
        ``patients`` (2,): in train, in test; ``modality`` (m, 2): of them with each modality; ``complete`` (2,): with
        all; ``sites`` (m,): 1 where the DIZ has the modality; ``problems`` (reasons,): images that are not used;
        ``outcome`` (2,): with a known outcome.
    """
    sides = np.stack([site.train, ~site.train])
    there = np.array([block.there for block in site.blocks.values()]).reshape(-1, site.rows)
    known = outcome_known(site, request)
    return {
        "patients": sides.sum(axis=1),
        "modality": (there[:, None, :] & sides[None]).sum(axis=2),
        "complete": (sides & site.complete).sum(axis=1),
        "sites": there.any(axis=1).astype(np.int64),
        "problems": counted(site.problems),
        "outcome": (sides & known).sum(axis=1),
    }


def outcome_known(site: Site, request: Request) -> Bool:
    """(n,) whether the patient has an outcome."""
    settings = request.settings
    if settings.classes:
        return np.asarray(site.code(settings.outcome) >= 0)
    known = np.isfinite(site.number(settings.outcome))
    return np.asarray(known & np.isfinite(site.number(settings.event)) if settings.event else known)


ANSWERS: dict[str, Answer] = {"mm_counts": mm_counts}
ASKED: dict[str, tuple[str, ...]] = {"mm_counts": ()}
