"""[tool.flame.privacy]: which claims exist, and that nothing is stated which would be passed over."""

from typing import Any

import pytest
from pydantic import ValidationError

from flame_fl.contract.errors import InputError
from flame_fl.contract.terms import Privacy
from tests.support.gates import BLOCKS, DP_SGD, ENFORCED, SUMS, TRAIN, make_terms

CLIP = {"mechanism": "clip", "clip_norm": 1.0}
WHOLE: dict[str, dict[str, Any]] = {
    "nothing": {},
    "clip": CLIP,
    "reviewed clip": CLIP | {"ground": "reviewed"},
    "site": ENFORCED,
    "blocks": BLOCKS,
    "sums": SUMS,
    "dp-sgd": DP_SGD,
    "reviewed sums": SUMS | {"ground": "reviewed"},
    "reviewed dp-sgd": DP_SGD | {"ground": "reviewed"},
}


def privacy(table: dict[str, Any], **changes: Any) -> Privacy:
    return Privacy.model_validate({key: value for key, value in (table | changes).items() if value is not None})


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_claim_is_accepted(name: str) -> None:
    noisy = {"site", "blocks", "sums", "dp-sgd", "reviewed sums", "reviewed dp-sgd"}
    assert privacy(WHOLE[name]).claims == (name in noisy)


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "nothing"])
def test_a_claim_that_lacks_anything_is_an_error(name: str) -> None:
    for key in WHOLE[name].keys() - {"unit", "ground", "mechanism"}:
        with pytest.raises(ValidationError, match=key):
            privacy(WHOLE[name], **{key: None})


@pytest.mark.parametrize("unit", ["none", "site", "patient"])
@pytest.mark.parametrize("ground", ["none", "reviewed", "vetted", "enforced"])
@pytest.mark.parametrize("mechanism", ["none", "clip", "discrete-gaussian", "dp-sgd", "sums"])
def test_no_other_claim_exists(unit: str, ground: str, mechanism: str) -> None:
    everything = DP_SGD | {"blocks": 4, "slot_seconds": 1.0, "unit": unit, "ground": ground, "mechanism": mechanism}
    listed = {(t.get("unit", "none"), t.get("ground", "none"), t.get("mechanism", "none")) for t in WHOLE.values()}
    listed.add(("none", "reviewed", "none"))
    for leave_out in (set(), {"blocks", "slot_seconds"}, {"blocks", "slot_seconds", "sample_rate", "steps"}):
        try:
            privacy({key: value for key, value in everything.items() if key not in leave_out})
        except ValidationError:
            continue
        assert (unit, ground, mechanism) in listed


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("site", {"blocks": 4}),
        ("site", {"slot_seconds": 1.0}),
        ("site", {"sample_rate": 0.1}),
        ("blocks", {"steps": 3}),
        ("sums", {"blocks": 4}),
        ("sums", {"steps": 4}),
        ("sums", {"slot_seconds": 1.0}),
        ("nothing", {"blocks": 4}),
        ("sums", {"adaptive_clip": True}),
        ("clip", {"adaptive_clip": True}),
    ],
)
def test_what_the_mechanism_does_not_have_is_an_error(name: str, extra: dict[str, Any]) -> None:
    """Whoever writes it believes that it does something."""
    privacy(WHOLE[name])
    with pytest.raises(ValidationError):
        privacy(WHOLE[name], **extra)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("blocks", {"blocks": 1}),
        ("blocks", {"blocks": 10_001}),
        ("blocks", {"slot_seconds": 0.0}),
        ("dp-sgd", {"sample_rate": 0.0}),
        ("dp-sgd", {"sample_rate": 1.1}),
        ("dp-sgd", {"steps": 0}),
        ("site", {"noise_multiplier": float("nan")}),
        ("site", {"clip_norm": float("inf")}),
    ],
)
def test_figures_out_of_range_are_errors(name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        privacy(WHOLE[name], **changes)


W: dict[str, Any] = {"record": "r", "name": "w", "dtype": "float64", "shape": [4]}
LOSS = {"record": "m", "name": "loss", "kind": "mean", "min": 0.0, "max": 1.0}


def stated(claim: dict[str, Any], *arrays: dict[str, Any], metrics: tuple[dict[str, Any], ...] = ()) -> None:
    make_terms(privacy=claim, messages={"train": {"per_run": 1, "arrays": list(arrays), "metrics": list(metrics)}})


def wrong(claim: dict[str, Any], *arrays: dict[str, Any], **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        stated(claim, *arrays, **more)
    return str(caught.value)


class TestShares:
    def test_every_array_has_one_or_none(self) -> None:
        stated(ENFORCED, W | {"clip_share": 0.6}, W | {"name": "v", "clip_share": 0.8})
        assert "every array" in wrong(ENFORCED, W | {"clip_share": 0.6}, W | {"name": "v"})

    @pytest.mark.parametrize("claim", [ENFORCED, BLOCKS], ids=["site", "blocks"])
    def test_their_squares_and_those_of_the_metrics_fit_the_ball(self, claim: dict[str, Any]) -> None:
        stated(claim, W | {"clip_share": 0.99}, metrics=(LOSS,))
        assert "more than 1" in wrong(claim, W | {"clip_share": 1.0}, metrics=(LOSS,))
        assert "more than 1" in wrong(claim, W | {"clip_share": 0.8}, W | {"name": "v", "clip_share": 0.8})

    def test_the_bit_of_adaptive_clipping_needs_room_too(self) -> None:
        stated(ENFORCED, W | {"clip_share": 1.0})
        assert "more than 1" in wrong(ENFORCED | {"adaptive_clip": True}, W | {"clip_share": 1.0})

    @pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
    def test_a_share_is_one(self, share: float) -> None:
        wrong(ENFORCED, W | {"clip_share": share})

    @pytest.mark.parametrize("claim", [{"unit": "none", "ground": "none", "mechanism": "none"}, CLIP])
    def test_without_noise_there_are_none(self, claim: dict[str, Any]) -> None:
        """It would be passed over."""
        assert "clip_share" in wrong(claim, W | {"clip_share": 0.5})


@pytest.mark.parametrize(
    "contract",
    [
        {"arrays": [W | {"dtype": "int64"}]},
        {"arrays": [W | {"shape": ["<=4"]}]},
        {"metrics": [LOSS | {"length": 3}]},
        {"metrics": [{k: v for k, v in LOSS.items() if k != "max"}]},
    ],
)
def test_blocks_need_of_a_contract_what_a_site_needs(contract: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="train"):
        make_terms(privacy=BLOCKS, messages={"train": {"per_run": 1} | contract})
    make_terms(privacy=BLOCKS, messages={"train": TRAIN})
