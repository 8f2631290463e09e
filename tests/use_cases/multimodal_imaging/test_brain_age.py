"""Synthetic brain age: years of error at DIZ that a model has not seen, with and without ComBat.

Patients, genomes, clinical values and volumes are made up (see `multimodal_imaging.brain`); nothing follows for people.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from multimodal_imaging import fusion_run, prepare
from multimodal_imaging.errors import InputError
from multimodal_imaging.settings import Settings
from multimodal_imaging.store import load_site

from tests.use_cases.multimodal_imaging import made
from tests.use_cases.multimodal_imaging.fusion_sites import Memory

pytestmark = pytest.mark.slow

SEEDS = (1,)


def errors(folder: Path, harmonise: str) -> tuple[float, float]:
    """Mean absolute error over DIZ left out one by one, and that of guessing the mean age."""
    config = {**made.defaults(), "set": "brain", "analysis": "fusion", "validation": "leave-one-out"}
    about = Settings.from_config({**config, "harmonise": harmonise})
    found = [
        load_site(one / "patients", one / "images", about, node=node)
        for node, one in enumerate(sorted(folder.glob("DIZ-*")), start=1)
    ]
    found = [replace(one, train=np.ones(one.rows, dtype=np.bool_)) for one in found]
    exchange = Memory(found, about)
    result = fusion_run.run_fusion(exchange, about, [one.node for one in found])
    age = np.concatenate([one.number("age") for one in found])
    return result.validation.mae, float(np.abs(age - age.mean()).mean())


def test_images_of_a_diz_that_is_left_out_tell_age_better_with_combat_than_without(tmp_path):
    """At most 8 years; guessing the mean is about 15 off."""
    found = []
    for seed in SEEDS:
        try:
            prepare.prepare_packaged(
                tmp_path / f"{seed}", "brain", 5, seed, complete=True, missing=False, voxel=8.0, scale=1.0
            )
        except InputError as error:
            if "nilearn" not in str(error):
                raise
            (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(str(error))
        plain, guess = errors(tmp_path / f"{seed}", "none")
        harmonised, _ = errors(tmp_path / f"{seed}", "combat")
        found.append((harmonised, plain, guess))
    harmonised, plain, guess = np.array(found).T
    assert harmonised.mean() <= 8.0
    assert (harmonised < plain).all()
    assert guess.mean() > 13
