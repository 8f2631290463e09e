"""Noise in shares: each site adds a part, and the sum has what was promised.

With n sites of which d may drop out and c may collude, at least m = n - d - c shares are in the sum and unknown to
whoever looks at it. Each is a discrete Gaussian with sigma² / m. Their sum is not exactly one with sigma², but next to
it: by Kairouz, Liu and Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure
Aggregation" (ICML 2021, arXiv:2102.06387), the logarithm of the ratio of the two probabilities is, at every integer, at
most

    tau = 10 · Σ_{k=1}^{m-1} exp(-2 π² (sigma²/m) k/(k+1))

in absolute value. Over D coordinates the sum is therefore within e^{Dτ} - 1 of the ideal in total variation, which is
charged like the samplers' own distance. With a share's sigma of at least 4, tau is below 1e-66 for up to 1000 sites.

Shares of further honest sites only add noise, which is post-processing. If all others collude with the hub, a site is
still protected by its own share: as if noise_multiplier were smaller by the root of m.
"""

import math

LEAST_SHARE_SIGMA_SQUARED = 16
"""A share with less than sigma = 4 is refused: tau is then no longer negligible."""


def share_of(sigma_squared: tuple[int, int], honest: int) -> tuple[int, int]:
    """sigma² of one share, as a fraction.

    Raises:
        ValueError: It is too small for the sum to be close to a discrete Gaussian.
    """
    numerator, denominator = sigma_squared[0], sigma_squared[1] * honest
    if numerator < LEAST_SHARE_SIGMA_SQUARED * denominator:
        raise ValueError("a share of the noise has a sigma below 4")
    return numerator, denominator


def distance_of_sum(share_sigma_squared: tuple[int, int], honest: int, coordinates: int, sampler: float) -> float:
    """At most so far, in total variation, is the sum of the honest shares from discrete Gaussian noise.

    Args:
        share_sigma_squared: Of one share.
        honest: m, how many shares count.
        coordinates: D.
        sampler: The distance of one site's own draws from a discrete Gaussian.
    """
    variance = share_sigma_squared[0] / share_sigma_squared[1]
    tau = 10.0 * sum(math.exp(-2.0 * math.pi**2 * variance * k / (k + 1)) for k in range(1, honest))
    return honest * sampler + math.expm1(coordinates * tau)
