"""How useful noisy releases can be at best, told from the terms alone, before anybody is asked.

Signal to noise: the longest update that clipping lets through, over the expected length of the noise vector. It
flatters: no real update points in one direction with every patient's weight. Below 1 the noise is longer than any
signal can be.
"""

import math

UNUSABLE = 1.0


def of_updates(noise_multiplier: float, coordinates: int, *, blocks: int = 1, sites: int = 1) -> float:
    """Of the mean of `sites` releases of clipped updates, each of which is itself a mean over `blocks`.

    The longest mean has the norm clip_norm; the noise has noise_multiplier · clip_norm / blocks on each of
    `coordinates` coordinates of a site's release, and averaging over sites divides it by the root of their number.
    """
    return blocks * math.sqrt(sites) / (noise_multiplier * math.sqrt(max(1, coordinates)))


def of_sums(noise_multiplier: float, coordinates: int, patients: float, *, steps: int = 1, sites: int = 1) -> float:
    """Of the sum over `sites` sums of `patients` contributions of norm clip_norm each, over `steps` such sums.

    For DP-SGD `patients` is the expected batch, and what the steps have in common grows with their number, the noise
    with its root.
    """
    return patients * math.sqrt(sites * steps) / (noise_multiplier * math.sqrt(max(1, coordinates)))
