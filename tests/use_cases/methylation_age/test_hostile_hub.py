"""Messages by which a hub would read one patient's values from masked sums are refused at the DIZ; made-up cohorts."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from methylation_age import client_app, feature_models, horvath, site_adaptation, spectrum, sums
from methylation_age.cohort import Cohort
from methylation_age.errors import InputError

from tests.use_cases.methylation_age.conftest import RUN_CONFIG

CPGS = 30


def cohort(n: int, seed: int) -> Cohort:
    """Betas with two causes; nothing missing."""
    drawn = np.random.default_rng(seed)
    causes = np.random.default_rng(0).normal(0, 0.08, (2, CPGS))
    betas = np.clip(0.5 + drawn.normal(size=(n, 2)) @ causes + drawn.normal(0, 0.03, (n, CPGS)), 0, 1)
    age = drawn.uniform(1, 90, n)
    return Cohort(betas, age, horvath.transform(age), tuple(f"P{seed}-{i}" for i in range(n)), ("brain",) * n)


def reference(of: Cohort, **changed: object) -> sums.Reference:
    """That of one cohort, as if it were pooled."""
    mean, spread = of.betas.mean(axis=0), of.betas.std(axis=0)
    given = {"centre": mean, "scale": spread, "y_centre": of.target.mean(), "y_scale": of.target.std()}
    return sums.Reference(**{**given, **changed})


@pytest.fixture(scope="module")
def learned() -> tuple[Cohort, sums.Reference, spectrum.Spectrum, feature_models.FeatureModels]:
    """What an honest hub makes of 24 rows, fewer than there are CpGs."""
    train = cohort(24, 1)
    own = reference(train)
    z = own.standardise(train.betas)
    of = spectrum.from_matrix(z.T @ z, len(z))
    return train, own, of, feature_models.fit(of)


def test_a_centre_beyond_all_betas_shows_the_row_of_who_lacks_a_value() -> None:
    """Column j becomes 1 where there is a value: sums of all CpGs less those of column j are who has none, exactly."""
    whole = cohort(30, 3)
    betas = whole.betas.copy()
    betas[11, 4] = np.nan
    rows = Cohort(betas, whole.age, whole.target, whole.patient_ids, whole.tissue)
    own = reference(whole)
    centre, scale = own.centre.copy(), own.scale.copy()
    centre[4], scale[4] = -1e9, 1e9
    hostile = sums.Reference(centre, scale, 0.0, 1.0)
    total = np.zeros((CPGS, 2))
    for part in np.array_split(np.arange(30), 5):
        one = Cohort(betas[part], rows.age[part], rows.target[part], tuple(rows.patient_ids[i] for i in part))
        folds = sums.split_folds(one, hostile, 5)
        total[:, 0] += sums.target(folds)["sum_z"].sum(axis=0)
        total[:, 1] += sums.columns(folds, np.array([4]))["gram"].sum(axis=0)[:, 0]
    truth = own.standardise(whole.betas)[11]
    others = np.arange(CPGS) != 4
    np.testing.assert_allclose((total[:, 0] - total[:, 1])[others], truth[others], atol=1e-6)
    with pytest.raises(InputError, match="between 0 and 1"):
        hostile.checked()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("scale", value) for value in (0.0, -0.1, 1.5, np.nan, np.inf)),
        *(("centre", value) for value in (-0.1, 1.1, np.nan, np.inf)),
        *(("y_scale", value) for value in (0.0, np.nan)),
        ("y_centre", np.inf),
    ],
)
def test_a_centre_or_scale_that_no_betas_have_is_refused(name, value) -> None:
    own = reference(cohort(20, 2))
    assert own.checked() is own
    changed = value
    if not name.startswith("y_"):
        changed = getattr(own, name).copy()
        changed[7] = value
    with pytest.raises(InputError):
        reference(cohort(20, 2), **{name: changed}).checked()


def test_references_of_another_panel_are_refused() -> None:
    with pytest.raises(InputError, match="the panel has 30"):
        sums.Reference(np.array([0.5]), np.array([0.1]), 0.0, 1.0).standardise(cohort(5, 1).betas)


def test_models_that_count_the_samples_at_many_values_of_one_cpg_are_refused(learned) -> None:
    """All columns but the first stand still, one vector mixes the first into all: p counts of its values at once."""
    _, own, _, models = learned
    target, step = cohort(12, 5), 1e-3
    values = (target.betas[:, 0] - 0.5) / 0.1
    asked = np.concatenate([[0.0], values, values + 0.01, np.zeros(CPGS - 25)])  # is anybody's first CpG at these?
    scale, centre = np.full(CPGS, 1e9), -step * asked * 1e9
    scale[0], centre[0] = 0.1, 0.5
    hostile = sums.Reference(centre, scale, 0.0, 1.0)
    of = spectrum.Spectrum(np.array([1e30]), np.where(np.arange(CPGS) == 0, 1.0, step)[:, None], 24)
    crafted = feature_models.FeatureModels(np.full(CPGS, 1e-30), np.full(CPGS, 1e-12))
    z, observed = hostile.standardise(target.betas), np.ones(target.betas.shape, dtype=bool)
    found = feature_models.confidence_sums(of, crafted, z, observed)[0]
    assert found[1:13].min() > 0.9
    assert (found[13:25] < 0.1).mean() > 0.7  # the others are near another patient's value

    with pytest.raises(InputError, match="between 0 and 1"):
        hostile.checked()
    with pytest.raises(InputError, match="that of standardised"):
        site_adaptation.confidences(target, own, of, crafted)
    doubled = spectrum.Spectrum(np.ones(2), np.repeat(of.vectors, 2, axis=1), 24)
    with pytest.raises(InputError, match="orthonormal"):
        site_adaptation.confidences(target, own, doubled, models)
    with pytest.raises(InputError, match="not of the panel"):
        site_adaptation.confidences(target, own, spectrum.Spectrum(np.ones(2), of.vectors[:5], 24), models)


def test_narrow_models_tell_how_many_have_one_value_and_are_refused(learned) -> None:
    """With next to no noise a confidence is 1 for who has that very value, and 0 for all others."""
    _, own, of, models = learned
    target = cohort(12, 5)
    value = target.betas[3, 2]
    centre = own.centre.copy()
    centre[2] = value
    pointed = sums.Reference(centre, own.scale, own.y_centre, own.y_scale)
    narrow = feature_models.FeatureModels(np.zeros(CPGS), np.full(CPGS, 1e-16))
    z, observed = pointed.standardise(target.betas), np.ones(target.betas.shape, dtype=bool)
    assert feature_models.confidence_sums(of, narrow, z, observed)[0][2] == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(InputError, match="noise"):
        site_adaptation.confidences(target, pointed, of, narrow)
    assert site_adaptation.confidences(target, own, of, models)["confidence"].max() > 1


@pytest.mark.parametrize("change", ["more signal", "less noise", "negative", "larger values", "no number", "few rows"])
def test_models_and_spectrum_must_belong_together(learned, change) -> None:
    _, own, of, models = learned
    values, signal, noise, rows = of.values, models.signal, models.noise, of.rows
    if change == "more signal":
        signal = noise * 1e5
    elif change == "less noise":
        signal, noise = signal / 10, noise / 10
    elif change == "negative":
        noise = -noise
    elif change == "larger values":
        values = 2 * values
    elif change == "no number":
        signal = np.where(np.arange(CPGS) == 3, np.nan, signal)
    else:
        rows = len(values) - 1
    changed = spectrum.Spectrum(values, of.vectors, rows), feature_models.FeatureModels(signal, noise)
    site_adaptation.check_models(of, models, CPGS)
    with pytest.raises(InputError):
        site_adaptation.confidences(cohort(12, 5), own, *changed)


@pytest.mark.parametrize("columns", [(0, 65), (0, 10**12), (-1, 3), (5, 5), (39, 41)])
def test_a_sketch_of_columns_that_there_are_not_is_refused(learned, columns) -> None:
    """Not by the memory that they take."""
    train, own, *_ = learned
    with pytest.raises(InputError, match="columns"):
        site_adaptation.sketch(train, own, 0, 24, columns)
    with pytest.raises(InputError, match="columns"):
        site_adaptation.sketch(train, own, -1, 24, (0, 2))
    assert site_adaptation.sketch(train, own, 0, 10, (0, 20))["sketch"].shape == (CPGS, 20)


@pytest.mark.parametrize("chosen", [np.arange(17), np.array([-1]), np.array([CPGS]), np.array([], dtype=np.int64)])
def test_columns_that_there_are_not_are_refused(learned, chosen) -> None:
    train, own, *_ = learned
    with pytest.raises(InputError, match="1 to 16"):
        sums.columns(sums.split_folds(train, own, 3), chosen)


def test_what_stands_for_a_missing_beta_is_a_beta() -> None:
    """Else a clock of one CpG gives who has no value there an age of its own, and the sum that patient's true age."""
    with pytest.raises(InputError, match="missing beta"):
        site_adaptation.path_errors(cohort(9, 1), np.array([0]), np.array([1e6]), np.ones((1, 1)), np.zeros(1))


def _asked(kind: str, **records: dict[str, object]) -> Message:
    content = RecordDict()
    for name, fields in records.items():
        arrays = {key: Array(value) for key, value in fields.items() if isinstance(value, np.ndarray)}
        content[name] = ArrayRecord(arrays) if arrays else ConfigRecord(fields)
    return Message(content, message_type=kind, dst_node_id=1)


def _context(folder, state: RecordDict | None = None, **config: object) -> Context:
    store = {"data-methylation": str(folder / "DIZ-1" / "methylation")}
    return Context(1, 1, store, RecordDict() if state is None else state, {**RUN_CONFIG, **config})


@pytest.mark.parametrize("config", [{}, {"penalty-rule": "similarity"}])
def test_a_tissue_that_the_run_config_does_not_name_is_refused(target_data, identity, config) -> None:
    """Sums over the target less those over one tissue are those of the others, which may be one sample."""
    content = {"target": {"tissue": "liver", "rows": 24}}
    context = _context(target_data, **{"target-tissue": "goal", **config})
    with pytest.raises(InputError, match="another tissue"):
        client_app.app(_asked("query.confidences", **content), context)
    clock = {"config": {"split": "target", "tissue": "", "model": "elastic-net", "columns": [0], "centre": [0.5]}}
    arrays = {"coef": np.ones(1), "intercept": np.zeros(1)}
    with pytest.raises(InputError, match="another tissue"):
        client_app.app(_asked("evaluate", arrays=arrays, **clock), context)
    clock["config"]["tissue"] = "goal"
    assert client_app.app(_asked("evaluate", arrays=arrays, **clock), context).has_content()


def test_errors_of_other_clocks_need_the_rule_that_they_are_for(target_data, identity) -> None:
    context = _context(target_data, **{"target-tissue": "goal"})
    with pytest.raises(InputError, match="penalty-rule"):
        client_app.app(_asked("query.path_errors", target={"tissue": "goal"}), context)


def test_a_session_has_few_references(target_data, identity) -> None:
    """Each comes of moments, and these are counted; the same one may come again."""
    state, p = RecordDict(), 71
    for number in [*range(6), 0, 3]:
        given = {"centre": np.full(p, 0.5 + number / 100), "scale": np.ones(p)}
        given |= {"y_centre": np.zeros(1), "y_scale": np.ones(1)}
        message = _asked("query.sketch", reference=given, sketch={"seed": 0, "rows": 9, "start": 0, "stop": 1})
        assert client_app.app(message, _context(target_data, state)).has_content()
    given["centre"] = np.full(p, 0.1)
    message = _asked("query.sketch", reference=given, sketch={"seed": 0, "rows": 9, "start": 0, "stop": 1})
    with pytest.raises(InputError, match="another centre"):
        client_app.app(message, _context(target_data, state))
