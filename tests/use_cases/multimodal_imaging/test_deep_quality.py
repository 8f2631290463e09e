"""How far averaging networks is from pooling patients, over seeds; and BatchNorm as the bad baseline of it."""

import numpy as np
import pytest
from multimodal_imaging.pooled_deep import compare, draw, interval

from tests.use_cases.multimodal_imaging import deep_sites

SEEDS = (0, 1, 2)
POINTS = 3.0


@pytest.mark.slow
def test_federated_is_within_three_points_of_pooled_and_batch_norm_is_not(tmp_path):
    """Points are hundredths of the explained variance of test patients. Scanners differ in brightness: the running
    statistics of BatchNorm, averaged over DIZ, then fit none of them."""
    said = deep_sites.settings(rounds=20, epochs=4, learning_rate=0.02, weight_decay=0.1, dropout=0.2)
    sites = deep_sites.sites(said, n=50, brightness=0.5)
    variants = ("pooled, GroupNorm", "FedAvg, GroupNorm", "FedAvg, BatchNorm")
    found = compare(sites, said, SEEDS, variants)
    pooled, federated, batch = ([100 * s.measures["r2"] for s in found[variant]] for variant in variants)
    told = {variant: interval([100 * s.measures["r2"] for s in scores]) for variant, scores in found.items()}
    assert np.mean(pooled) > 50, told
    assert np.mean(federated) >= np.mean(pooled) - POINTS, told
    assert np.mean(batch) < np.mean(federated) - 3 * POINTS, told
    entry = draw(tmp_path, found, "r2")
    assert (tmp_path / entry["file"]).stat().st_size > 1000


def test_interval_is_students():
    """Mean of 1, 2, 3 is 2, and the half width 4.303 / sqrt(3)."""
    mean, half = interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.302653 / np.sqrt(3), rel=1e-6))
