"""The messages of a dry run: shapes of the contract, numbers that nothing divides by zero with, a bounded size."""

import numpy as np

from flame_fl.node.dry_run_made_up import MAX_MESSAGE_BYTES, made_up_message, shape_of
from tests.support.gates import TRAIN, make_terms


def array(name: str, *shape: object, dtype: str = "float64") -> dict[str, object]:
    return {"record": "arrays", "name": name, "dtype": dtype, "shape": list(shape)}


def test_every_array_fits_its_rule() -> None:
    """Exact lengths as stated, bounded ones 8 or fewer; finite and not zero."""
    rules = [array("a", 3, "<=20000"), array("b", "<=2", dtype="int32"), array("c", dtype="bool")]
    rules.append(array("d", 2, dtype="float16"))
    terms = make_terms(messages={"train": TRAIN | {"arrays": rules}})
    content = made_up_message(terms, "train", {}, {})
    assert content is not None
    for rule in terms.messages["train"].arrays:
        made = content.arrays[rule.record][rule.name]
        assert rule.allows(made.shape)
        assert (made.dtype.name, made.shape) == (rule.dtype, shape_of(rule))
        assert np.isfinite(made).all()
        assert made.astype(float).min() > 0


def test_a_config_as_strategies_send_one() -> None:
    """The bundle's own run config, and the first round."""
    content = made_up_message(make_terms(), "train", {"rate": 0.5}, {})
    assert content is not None
    assert content.configs == {"config": {"rate": 0.5, "server-round": 1}}


def test_other_types_arrays_come_along_and_released_ones_again() -> None:
    """An app that is sent a model and answers sums finds the model, as it was trained; of another shape it is not."""
    evaluate = TRAIN | {"arrays": [{"record": "sums", "name": "n", "dtype": "float64", "shape": [1]}]}
    terms = make_terms(messages={"train": TRAIN, "evaluate": evaluate})
    model = np.full(4, 7.0)
    content = made_up_message(terms, "evaluate", {}, {("arrays", "w"): model, ("arrays", "b"): np.zeros(9)})
    assert content is not None
    assert set(content.arrays) == {"sums", "arrays"}
    assert content.arrays["arrays"]["w"] is model
    assert content.arrays["arrays"]["b"].shape == (1,)


def test_what_is_too_large_is_not_made() -> None:
    """Of its own type: nothing is sent. Of another type: it is left out."""
    huge = TRAIN | {"arrays": [array("w", MAX_MESSAGE_BYTES // 8 + 1)], "max_bytes": 1 << 31}
    terms = make_terms(messages={"train": huge, "evaluate": TRAIN})
    assert made_up_message(terms, "train", {}, {}) is None
    content = made_up_message(terms, "evaluate", {}, {})
    assert content is not None
    assert content.nbytes < 1000
