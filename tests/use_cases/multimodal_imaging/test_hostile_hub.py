"""Messages by which a hub would read one patient's or one DIZ's values from masked sums are refused at the DIZ."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from multimodal_imaging import client_app
from multimodal_imaging.errors import InputError

from tests.use_cases.multimodal_imaging import made
from tests.use_cases.multimodal_imaging.conftest import ClientGrid


@pytest.fixture
def ask(stores, identity):
    """ask(query, config, arrays, node=1, **run config): the request that the app would answer."""

    def go(query, config=None, arrays=None, node=1, grid=None, **overrides):
        grid = grid or ClientGrid(stores, made.config(**overrides))
        content = RecordDict({"ask": ConfigRecord(config or {})})
        if arrays:
            content["numbers"] = ArrayRecord({name: Array(array) for name, array in arrays.items()})
        message = Message(content, dst_node_id=node, message_type=f"query.{query}")
        return client_app._request(message, grid.context(node))

    return go


@pytest.mark.parametrize(
    "config",
    [
        {"outcome": "diagnosis"},
        {"levels": "grade=III|IV"},
        {"modalities": "T1"},
        {"phenome": "sbp"},
        {"regions": "12x14x12"},
        {"patients": ["N1P001"]},
        {"validation": "sites"},
        {"seed": 5},
        {"genome": "dosages"},
    ],
)
def test_a_message_cannot_choose_columns_patients_or_regions(ask, config):
    """One voxel's mean in a region of one voxel, or a class that one patient has, would be that patient's."""
    for query in ("mm_counts", "mm_moments", "mm_block", "mm_scores"):
        with pytest.raises(InputError, match="does not need"):
            ask(query, config)


def test_what_is_asked_about_is_the_approved_run_config_s(ask):
    request = ask("mm_counts")
    assert request.settings == made.settings()
    assert (dict(request.config), dict(request.arrays)) == ({}, {})


def test_another_analysis_s_questions_are_refused(ask):
    with pytest.raises(InputError, match="approved analysis is fusion"):
        ask("mm_saliency")
    with pytest.raises(InputError, match="approved analysis is deep"):
        ask("mm_block", analysis="deep")


def test_numbers_that_are_not_finite_are_refused(ask):
    """A NaN in a coefficient turns a masked sum into one of whoever has the column."""
    for wrong in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="not finite"):
            ask("mm_moments", arrays={"centre": np.array([0.0, wrong])})


def test_groups_of_diz_do_not_change_within_a_session(ask, stores):
    """Two groupings, crossed, are about one DIZ."""
    grid = ClientGrid(stores, made.config(validation="sites"))
    nodes = ["1", "2", "3", "4", "5"]
    for _ in range(2):
        ask("mm_moments", {"nodes": nodes, "groups": [0, 0, 1, 1, 1]}, grid=grid)
    with pytest.raises(InputError, match="groups of DIZ changed"):
        ask("mm_moments", {"nodes": nodes, "groups": [0, 1, 1, 1, 0]}, grid=grid)
    with pytest.raises(InputError, match="groups of DIZ changed"):
        ask("mm_moments", {"nodes": [*nodes[:4], "9"], "groups": [0, 0, 1, 1, 1]}, grid=grid)


def test_an_answer_s_shape_says_nothing_of_a_diz(stores, identity):
    """All DIZ, with images or without, answer with arrays of the same names and shapes."""
    grid = ClientGrid(stores, made.config())
    shapes = set()
    for node in range(1, 6):
        message = Message(RecordDict(), dst_node_id=node, message_type="query.mm_counts")
        reply = client_app.app(message, grid.context(node))
        sums = reply.content.array_records["sums"]
        shapes.add(tuple(sorted((name, tuple(array.shape), array.dtype) for name, array in sums.items())))
    assert len(shapes) == 1
