"""A message brings what its query needs, finite numbers, and nothing else."""

import numpy as np
import pytest
from multimodal_imaging import approved, client_app
from multimodal_imaging.errors import InputError

from tests.use_cases.multimodal_imaging import made

ASKED = {"mm_counts": (), "mm_moments": ("centre", "drop*"), "train": ("modality1",)}


def check(query, config=(), analysis="fusion", **arrays):
    approved.check(query, dict(config), arrays, ASKED, made.settings(analysis=analysis))


def test_what_a_query_needs_passes():
    check("mm_counts")
    check("mm_moments", {"server-round": 3, "drop-block": "genome"}, centre=np.zeros(3))
    check("train", analysis="deep", modality1=np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("query", "config", "arrays", "words"),
    [
        ("train", {}, {}, "does not ask train"),
        ("mm_counts", {"outcome": "height"}, {}, "1 things that mm_counts does not need"),
        ("mm_counts", {}, {"rows": np.ones(3)}, "1 things"),
        ("mm_moments", {}, {"centre": np.array([np.nan])}, "not finite"),
        ("mm_moments", {}, {"centre": np.array([np.inf])}, "not finite"),
        ("mm_moments", {}, {"centre": np.array(["a"])}, "no numbers"),
        ("mm_moments", {"drop-share": float("nan")}, {}, "not finite"),
        ("mm_moments", {"drop-share": [1.0, float("inf")]}, {}, "not finite"),
    ],
)
def test_what_it_does_not_need_is_refused(query, config, arrays, words):
    with pytest.raises(InputError, match=words):
        check(query, config, **arrays)


def test_every_query_is_answered_asked_and_belongs_to_an_analysis():
    answered = {*client_app.ANSWERS, "train"}
    assert set(client_app.ASKED) == answered
    assert {query for queries in approved.QUERIES.values() for query in queries} == answered


def test_no_message_may_bring_columns_levels_patients_or_regions():
    """Whatever is a word of the run config stays there."""
    forbidden = {key.replace("-", "_") for key in made.defaults()} | set(made.defaults())
    forbidden |= {"patients", "rows", "columns", "features", "modality", "region", "threshold", "bins"}
    forbidden -= {"set", "centre", "calibration"}  # here a fold, means of features, and what a fit found
    for query, keys in client_app.ASKED.items():
        assert not forbidden & set(keys), query
