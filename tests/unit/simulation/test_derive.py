"""Deriving an analysis with other privacy terms: the same code, other terms, another digest."""

from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import Fab, read_fab
from flame_fl.contract.manifest import Manifest, manifest_of
from flame_fl.contract.refusal import RefusalCode
from flame_fl.contract.terms import Privacy
from flame_fl.flower.bundle import build_fab
from flame_fl.gate.claims import SITE, Account
from flame_fl.gate.cohort_check import EVENT
from flame_fl.gate.workflow import NodeLimits
from flame_fl.privacy.accounting import epsilon_of
from flame_fl.simulation.derive import PrivacyWish, derive
from tests.support.gates import TRAIN, terms_table

PEOPLE = Account("patient", "patients")

OPEN_SHAPE = {"per_run": 2, "arrays": [{"record": "a", "name": "x", "dtype": "float64", "shape": ["<=5"]}]}
INTEGERS = {"per_run": 2, "arrays": [{"record": "a", "name": "n", "dtype": "int64", "shape": [3]}]}
OPEN_METRIC = {"per_run": 2, "metrics": [{"record": "m", "name": "loss", "kind": "mean"}]}
MIXED = terms_table(
    messages={"train": TRAIN, "query.open": OPEN_SHAPE, "query.integers": INTEGERS, "evaluate": OPEN_METRIC}
)


def fab_of(app: Path, **wish: Any) -> Fab:
    return read_fab(derive(app, PrivacyWish(**wish)).raw_fab)


def manifest(app: Path, **wish: Any) -> Manifest:
    return manifest_of(fab_of(app, **wish))


def privacy(app: Path, **wish: Any) -> Privacy:
    terms = manifest(app, **wish).terms
    assert terms is not None
    return terms.privacy


def test_no_wish_is_the_apps_own_bundle(make_app) -> None:
    """Without --privacy the bytes are those that `flwr build` makes."""
    app = make_app()
    assert derive(app, PrivacyWish()).raw_fab == build_fab(app)


def test_no_wish_needs_no_terms(make_app) -> None:
    """An app that never heard of flame_fl can be bundled."""
    assert manifest(make_app({})).terms is None


def test_privacy_none_states_no_claim(make_app) -> None:
    """Every message type stays, and the terms say that nothing is claimed."""
    app = make_app(MIXED)
    assert privacy(app, privacy="none") == Privacy()
    assert derive(app, PrivacyWish("none")).left_out == ()


def test_privacy_site_states_the_wished_claim(make_app) -> None:
    """The budget of the terms is the one that was asked for."""
    claim = privacy(make_app(), privacy="site", epsilon=4.0)
    assert (claim.unit, claim.ground, claim.mechanism) == ("site", "enforced", "discrete-gaussian")
    assert (claim.epsilon_max, claim.delta) == (4.0, 1e-5)


def test_each_wish_is_an_analysis_of_its_own(make_app) -> None:
    """Other terms, another digest: an approval of one is none of another."""
    app = make_app()
    wishes = [{}, {"privacy": "site", "epsilon": 8.0}, {"privacy": "site", "epsilon": 4.0}]
    wishes += [{"privacy": "site", "epsilon": 8.0, "clip_norm": 2.0}]
    wishes += [{"privacy": "site", "epsilon": 8.0, "delta": 1e-6}]
    assert len({manifest(app, **wish).digest for wish in wishes}) == len(wishes)


def test_the_same_wish_is_the_same_analysis(make_app) -> None:
    """Deriving twice gives one digest, or nobody could approve it."""
    app = make_app()
    wish = {"privacy": "site", "epsilon": 8.0}
    assert manifest(app, **wish).digest == manifest(app, **wish).digest


@pytest.mark.parametrize("extra", ["an_app/panel.json", "README.md", "an_app/deep/er/more.py"])
def test_the_code_of_a_derived_analysis_is_the_apps_own(make_app, extra: str) -> None:
    """Every file of the bundle but pyproject.toml is the same, byte for byte."""
    app = make_app(files={extra: "{}"})
    own, derived = fab_of(app), fab_of(app, privacy="none")
    assert extra in own.files
    assert {k: v for k, v in derived.files.items() if k != "pyproject.toml"} == {
        k: v for k, v in own.files.items() if k != "pyproject.toml"
    }


def test_a_file_that_is_called_flame_something_is_derived_too(make_app) -> None:
    """A data file of the app whose name begins with "flame-" is in the derived bundle as it is in its own."""
    app = make_app(files={"an_app/flame-panel.json": "{}"})
    assert fab_of(app, privacy="none").files.keys() == fab_of(app).files.keys()


def test_the_researchers_folder_is_not_touched(make_app) -> None:
    """Deriving works on a copy."""
    app = make_app()
    before = {p: p.read_bytes() for p in app.rglob("*") if p.is_file()}
    derive(app, PrivacyWish("site", 8.0))
    assert {p: p.read_bytes() for p in app.rglob("*") if p.is_file()} == before


def test_messages_that_cannot_carry_a_claim_are_left_out_and_named(make_app) -> None:
    """Open shapes, integers and metrics without bounds cannot be noised; only the rest may be asked."""
    app = make_app(MIXED)
    derived = derive(app, PrivacyWish("site", 8.0))
    terms = manifest_of(read_fab(derived.raw_fab)).terms
    assert terms is not None
    assert set(terms.messages) == {"train"}
    assert derived.left_out == ("evaluate", "query.integers", "query.open")


def test_messages_keeps_only_the_named_types(make_app) -> None:
    """What is not named is left out, also where nothing is claimed."""
    derived = derive(make_app(MIXED), PrivacyWish("none", messages=("train", "evaluate")))
    terms = manifest_of(read_fab(derived.raw_fab)).terms
    assert terms is not None
    assert set(terms.messages) == {"train", "evaluate"}
    assert derived.left_out == ("query.integers", "query.open")


def test_the_whole_run_fits_into_the_wished_epsilon(make_app, make_world) -> None:
    """Every message that the contract allows is admitted, in a node whose lifetime cap is the same epsilon."""
    raw = derive(make_app(), PrivacyWish("site", 2.0)).raw_fab
    world = make_world(limits=NodeLimits(epsilon_cap=2.0, delta=1e-5, min_patients=5))
    world.decide(raw)
    assert [world.code(raw, leg=str(leg)) for leg in range(TRAIN["per_run"])] == [None] * TRAIN["per_run"]
    for account in (SITE, PEOPLE):
        assert epsilon_of(world.store.spent(account), 1e-5) <= 2.0


def test_the_wished_epsilon_pays_for_no_message_more(make_app, make_world) -> None:
    """The noise is no larger than it has to be: one message more would not have fitted."""
    raw = derive(make_app(), PrivacyWish("site", 2.0)).raw_fab
    world = make_world()
    world.decide(raw)
    for leg in range(TRAIN["per_run"]):
        world.released(raw, leg=str(leg))
    spent = world.store.spent(PEOPLE)
    one_more = {event: count + (event != EVENT) for event, count in spent.items()}
    assert epsilon_of(one_more, 1e-5) > 2.0


@pytest.mark.parametrize("blocks", [2, 7])
def test_of_unit_patient_the_whole_run_fits_too(make_app, make_world, blocks: int) -> None:
    """The same noise on the sum as of unit site, the site's account untouched, the app once for each block."""
    raw = derive(make_app(), PrivacyWish("patient", 2.0, blocks=blocks)).raw_fab
    limits = NodeLimits(epsilon_cap=2.0, delta=1e-5, min_patients=5, fixed_slots=False)
    world = make_world(limits=limits)
    world.decide(raw)
    assert [world.code(raw, leg=str(leg)) for leg in range(TRAIN["per_run"])] == [None] * TRAIN["per_run"]
    assert len(world.sandbox.messages) == blocks * TRAIN["per_run"]
    assert epsilon_of(world.store.spent(PEOPLE), 1e-5) <= 2.0
    assert world.store.spent(SITE) == {}


def test_of_unit_patient_the_claim_is_stated_whole(make_app) -> None:
    """Sixteen blocks if nobody says otherwise; the noise for the sum does not depend on how many."""
    app = make_app()
    stated = privacy(app, privacy="patient", epsilon=8.0)
    assert (stated.unit, stated.ground, stated.blocks, stated.slot_seconds) == ("patient", "enforced", 16, 60.0)
    other = privacy(app, privacy="patient", epsilon=8.0, blocks=5)
    assert (other.blocks, other.noise_multiplier) == (5, stated.noise_multiplier)
    assert stated.noise_multiplier == privacy(app, privacy="site", epsilon=8.0).noise_multiplier


def test_a_derived_claim_is_for_one_run(make_app, make_world) -> None:
    """Its noise is chosen for one run's messages, so there is no second."""
    raw = derive(make_app(), PrivacyWish("site", 2.0)).raw_fab
    world = make_world()
    world.decide(raw)
    world.released(raw)
    assert world.code(raw, run_id=8) is RefusalCode.TERMS_VIOLATED


def test_all_kept_types_share_the_budget(make_app, make_world) -> None:
    """The noise is chosen for the messages of all types together."""
    raw = derive(make_app(terms_table(messages={"train": TRAIN, "evaluate": TRAIN})), PrivacyWish("site", 2.0)).raw_fab
    world = make_world()
    world.decide(raw)
    legs = [(kind, str(number)) for kind in ("train", "evaluate") for number in range(TRAIN["per_run"])]
    assert [world.code(raw, leg=f"{kind}-{n}", kind=kind) for kind, n in legs] == [None] * len(legs)


def test_a_smaller_epsilon_is_more_noise(make_app) -> None:
    """The multiplier falls as epsilon grows."""
    app = make_app()
    multipliers = [privacy(app, privacy="site", epsilon=e).noise_multiplier for e in (0.5, 1.0, 2.0, 8.0)]
    assert multipliers == sorted(set(multipliers), reverse=True)


def test_the_clip_norm_is_the_wished_one_then_the_apps_own(make_app) -> None:
    """--clip-norm goes before what the app states, and that before 1."""
    clipped = make_app(terms_table(privacy={"mechanism": "clip", "clip_norm": 3.0}))
    wish = {"privacy": "site", "epsilon": 8.0}
    assert privacy(clipped, **wish, clip_norm=2.0).clip_norm == 2.0
    assert privacy(clipped, **wish).clip_norm == 3.0
    assert privacy(make_app(), **wish).clip_norm == 1.0


@pytest.mark.parametrize(
    "wish",
    [
        {"epsilon": 8.0},
        {"clip_norm": 1.0},
        {"messages": ("train",)},
        {"privacy": "site"},
        {"privacy": "none", "messages": ("predict",)},
        {"privacy": "site", "epsilon": 8.0, "messages": ("train", "predict")},
        {"privacy": "patient"},
        {"privacy": "patient", "epsilon": 8.0, "blocks": 1},
        {"privacy": "patient", "epsilon": 8.0, "blocks": 10_001},
        {"privacy": "site", "epsilon": 8.0, "blocks": 4},
        {"privacy": "none", "blocks": 4},
        {"blocks": 4},
        {"privacy": "site", "epsilon": 0.0},
        {"privacy": "site", "epsilon": 1e7},
        {"privacy": "site", "epsilon": 8.0, "clip_norm": -1.0},
        {"privacy": "site", "epsilon": 8.0, "clip_norm": float("nan")},
        {"privacy": "site", "epsilon": 8.0, "clip_norm": float("inf")},
        pytest.param({"privacy": "site", "epsilon": -1.0}),
        pytest.param({"privacy": "site", "epsilon": float("nan")}),
        pytest.param({"privacy": "site", "epsilon": float("inf")}),
        pytest.param({"privacy": "site", "epsilon": 1e9}),
        pytest.param({"privacy": "site", "epsilon": 8.0, "clip_norm": 0.0}),
        pytest.param({"privacy": "none", "epsilon": 8.0}),
        pytest.param({"privacy": "none", "clip_norm": 1.0}),
    ],
    ids=str,
)
def test_a_wish_that_cannot_be_had_is_bad_input(make_app, wish: dict[str, Any]) -> None:
    """A wish is fulfilled or refused with a sentence, never half fulfilled."""
    app = make_app()
    with pytest.raises(InputError):
        derive(app, PrivacyWish(**wish))


def test_an_app_without_terms_has_none_to_change(make_app) -> None:
    """The sentence says how to see what is missing."""
    app = make_app({})
    with pytest.raises(InputError, match="states no") as raised:
        derive(app, PrivacyWish("none"))
    assert "flame app check" in raised.value.mend


def test_an_app_that_can_carry_no_claim_is_told_what_one_needs(make_app) -> None:
    """Nothing is left to run, so nothing is derived."""
    app = make_app(terms_table(messages={"query.open": OPEN_SHAPE}))
    with pytest.raises(InputError, match="No message type") as raised:
        derive(app, PrivacyWish("site", 8.0))
    assert "exact shape" in raised.value.mend


@pytest.mark.parametrize(
    ("wish", "field", "value"),
    [
        (PrivacyWish("none"), "limits", {"runs": 0}),
        pytest.param(PrivacyWish("none"), "messages", 3, id="none-messages"),
        pytest.param(
            PrivacyWish("site", 8.0),
            "privacy",
            "",
            id="site-privacy",
        ),
        pytest.param(
            PrivacyWish("site", 8.0),
            "limits",
            {"runs": 0},
            id="site-limits",
        ),
    ],
)
def test_malformed_terms_are_named_in_a_derived_analysis_too(
    make_app, wish: PrivacyWish, field: str, value: object
) -> None:
    """The sentence names the field, as it does without a wish."""
    app = make_app(terms_table() | {field: value})
    with pytest.raises(InputError, match=field):
        manifest_of(read_fab(derive(app, wish).raw_fab))
