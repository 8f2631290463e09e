"""Messages by which a hub would read one patient's or one DIZ's values from masked sums are refused at the DIZ.

Each attack is first shown to work on the sums alone, where it does; then that a DIZ refuses it.
"""

import tomllib
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context
from gene_expression import approved, client_app, site_evaluation, site_glm, site_limma, site_mlp, site_screen
from gene_expression.errors import InputError
from gene_expression.settings import Settings
from gene_expression.table import COUNTS, LOG2, Request, Table
from gene_expression.validation import members

from flame_fl.contract.terms import Terms
from tests.use_cases.gene_expression.conftest import PYPROJECT
from tests.use_cases.gene_expression.phenotype_sites import CLASSES, GENES, GRID, STAGES, make, request

FULL = {"numeric": [], "categorical": ["stage"], "level_counts": [3], "levels": list(STAGES), "references": ["I"]}
WORDS = {"class_of": "group", "classes": list(CLASSES)}
TIMES = {"time": "time", "event": "died"}


@pytest.fixture
def settings(defaults):
    """Settings of an analysis of the made-up study: settings(analysis, key=value)."""

    def get(analysis: str, **more: object) -> Settings:
        outcome = {"survival": "time"}.get(analysis, "group")
        said = {"set": "own", "panel": "synthetic", "scale": "log2", "levels": "group=control|case; stage=I|II|III"}
        said |= {"design": "stage", "outcome": outcome, "event": "died", "covariates": "age", "grid": "30:1020:30"}
        said |= {"method": "limma", **more}
        return Settings.from_config({**defaults, **said, "analysis": analysis})

    return get


@pytest.fixture
def tables() -> list[Table]:
    """Five DIZ. One patient alone, of all five, is of stage III and 91 years old."""
    study = make(seed=5)
    codes = {**study.codes, "stage": np.minimum(study.codes["stage"], 1)}
    codes["stage"][7] = 2
    return replace(study, codes=codes).sites().tables


def test_levels_that_one_patient_has_are_that_patient_s_genes(tables, settings):
    """A design of one level leaves all other samples out: the sums over all DIZ are one row, in one message."""
    lone = {**FULL, "level_counts": [1], "levels": ["III"], "references": ["none"]}
    arrays = {"genes": np.arange(len(GENES)), "centre": np.zeros(1), "scale": np.ones(1)}
    asked = Request(lone, arrays)
    total = sum(site_limma.de_products(table, asked)["sum_y"] for table in tables)
    np.testing.assert_allclose(total, make(seed=5).genes[7], atol=1e-12)

    with pytest.raises(InputError, match="all levels of 'stage'"):
        approved.check("de_products", asked, settings("differential"))
    approved.check("de_products", Request(FULL, arrays), settings("differential"))


@pytest.mark.parametrize(
    ("analysis", "query", "config"),
    [
        ("differential", "de_design", {**FULL, "numeric": ["age"]}),
        ("differential", "de_design", {**FULL, "numeric": ["gene:G1"]}),
        ("classify", "glm_moments", {**WORDS, "outcome": "class:case", "numeric": ["time"]}),
        ("classify", "glm_moments", {**WORDS, "outcome": "gene:G3"}),
        ("classify", "glm_moments", {**WORDS, "outcome": "class:case", "classes": ["case"]}),
        ("classify", "glm_moments", {**FULL, **WORDS, "outcome": "class:case"}),
        ("survival", "survival_curve", {**TIMES, "by": "stage", "group_levels": ["III"]}),
        ("survival", "phenotype_times", {"time": "age", "event": "died"}),
        ("survival", "phenotype_screen", {**TIMES, **WORDS, "outcome": "class:case"}),
        ("differential", "glm_step", {**FULL}),
    ],
)  # fmt: skip
def test_a_question_that_the_run_config_does_not_state_is_refused(settings, analysis, query, config):
    with pytest.raises(InputError, match=r"approved|run config"):
        approved.check(query, Request(config), settings(analysis))


def test_genes_are_those_that_may_enter(settings):
    config = {**WORDS, "screened": ["gene:G1", "gene:G2"]}
    approved.check("phenotype_screen", Request(config), settings("classify"))
    approved.check("phenotype_screen", Request(config), settings("classify", genes="G1, G2"))
    with pytest.raises(InputError, match="gene:G2"):
        approved.check("phenotype_screen", Request(config), settings("classify", genes="G1"))


def test_a_hazard_of_one_bin_is_the_expression_of_who_leaves_in_it(tables, settings):
    """m = event - hazard: a hazard in one bin of a fine grid alone gives all genes of the patient of that time."""
    times = np.concatenate([table.numbers["time"] for table in tables])
    genes = np.concatenate([table.genes for table in tables])
    values, counts = np.unique(times, return_counts=True)
    lone = float(values[counts == 1][0])
    grid, hazard = np.array([lone - 0.5, lone]), np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    content = {"phenotype": {**TIMES, "of_split": "all"}, "times": {"grid": grid, "hazard": hazard[:1]}}
    other = {**content, "times": {"grid": grid, "hazard": hazard[1:]}}
    sums = [sum(site_screen.phenotype_screen(t, request(c))["sum_mx"][0] for t in tables) for c in (content, other)]
    np.testing.assert_allclose(sums[0] - sums[1], genes[times == lone][0], atol=1e-9)

    with pytest.raises(InputError, match="grid of times"):
        approved.check("phenotype_screen", request(other), settings("survival"))
    notch = np.zeros((1, len(GRID) + 1))
    notch[0, 4] = 1.0
    content["times"] = {"grid": GRID, "hazard": notch}
    with pytest.raises(InputError, match="does not fall"):
        approved.check("phenotype_screen", request(content), settings("survival"))
    content["times"]["hazard"] = np.cumsum(notch, axis=1)
    approved.check("phenotype_screen", request(content), settings("survival"))


def test_bins_around_one_value_are_refused(tables, settings):
    """A model that is one gene, counted in bins of the hub's choice, lists that gene's values."""
    gene = np.sort(np.concatenate([table.genes[:, 0] for table in tables]))
    cuts = 1 / (1 + np.exp(8 - (gene[:-1] + gene[1:]) / 2))
    design = {"numeric": ["gene:G0"], "categorical": [], "level_counts": [], "levels": [], "references": []}
    config = {**design, **WORDS, "scored": ["case"], "of_split": "all"}
    asked = Request(config, {"coefficients": np.array([[-8.0, 1.0]]), "cuts": cuts})
    total = sum(site_evaluation.classify_scores(table, asked)["scores"] for table in tables)
    assert (total.sum(axis=1) == 1).mean() > 0.97  # but where two patients have the same value

    with pytest.raises(InputError, match="roc-bins"):
        approved.check("classify_scores", asked, settings("classify"))
    fine = Request(config, {**asked.arrays, "cuts": np.linspace(0, 1, 101)[1:-1]})
    approved.check("classify_scores", fine, settings("classify"))


def test_bins_of_a_risk_score_are_those_of_a_logistic_one(settings):
    inner = np.linspace(0, 1, 101)[1:-1]
    right = 0.7 * np.log(inner / (1 - inner))
    arrays = {"grid": GRID, "thresholds": np.zeros(1), "cuts": right}
    approved.check("survival_scores", Request(TIMES, arrays), settings("survival"))
    for wrong in (
        {"cuts": right + 0.1},
        {"cuts": right[1:]},
        {"thresholds": np.array([0.3])},
        {"kept": np.array([3, 2])},
    ):
        with pytest.raises(InputError):
            approved.check("survival_scores", Request(TIMES, {**arrays, **wrong}), settings("survival"))


def test_a_notch_in_voom_s_trend_weighs_one_sample_alone():
    """Log counts differ by library size: weights of 1 at one sample's and next to none elsewhere give its values."""
    drawn = np.random.default_rng(3)
    counts = drawn.poisson(drawn.uniform(20, 200, (1, 9)) * drawn.uniform(0.5, 2, (40, 1))).astype(float)
    tables = [
        Table(part, COUNTS, {}, {}, {}, tuple(f"P{i}" for i in range(len(part))), tuple("ABCDEFGHI"))
        for part in np.array_split(counts, 5)
    ]
    sizes, genes, at = np.log2(counts.sum(axis=1) + 1) - np.log2(1e6), np.arange(9), 5
    gap = np.abs(np.delete(sizes, at) - sizes[at]).min()
    x, notch = sizes[at] + gap * np.array([-1, -0.5, 0.5, 1]), np.array([1e4, 1.0, 1.0, 1e4])
    weights = np.interp(sizes, x, notch) ** -4
    assert weights[at] > (1 - 1e-9) * weights.sum()  # so that sums of weighted values are this sample's

    arrays = {"genes": genes, "library": genes, "profile": counts.sum(axis=0), "centre": np.empty(0)}
    arrays |= {"scale": np.empty(0), "coefficients": np.zeros((9, 1)), "trend_x": x}
    asked = Request({"method": "none", "log_factor": 0.0}, {**arrays, "trend_y": notch})
    with pytest.raises(InputError, match="too steep"):
        site_limma.de_weighted(tables[0], asked)

    smooth = Request(asked.config, {**arrays, "trend_y": np.exp(-0.5 * (x - x[0]))})
    assert site_limma.de_weighted(tables[0], smooth)["wrr"].shape == (9,)
    for wrong in (np.zeros(4), np.full(4, np.nan), np.ones(3)):
        with pytest.raises(InputError, match="trend"):
            site_limma.de_weighted(tables[0], Request(asked.config, {**arrays, "trend_y": wrong}))


def test_folds_of_samples_that_are_held_out_are_refused(tables):
    """A test sample's fold within a held-out fold is a handful of patients, and often one."""
    design = {"numeric": ["gene:G0"], "outcome": "class:case", "family": "logistic", **WORDS}
    arrays = {"coefficients": np.zeros((1, 2)), "fold": np.array([0]), "centre": np.zeros(1), "scale": np.ones(1)}
    config = {**design, "folds": 5, "of_scheme": "patients", "of_folds": 5, "of_seed": 0}
    site_glm.glm_path(tables[0], Request(config, arrays))
    for more in ({"of_held_out": True}, {"of_split": "test"}, {"of_split": "all"}):
        with pytest.raises(InputError, match="training samples only"):
            site_glm.glm_path(tables[0], Request({**config, **more}, arrays))


@pytest.mark.parametrize("points", [np.zeros((65, 2)), np.zeros(2)])
def test_a_path_is_asked_at_a_bounded_number_of_points(tables, points):
    design = {"numeric": ["gene:G0"], "outcome": "class:case", "family": "logistic", **WORDS}
    arrays = {"coefficients": points, "fold": np.full(len(points), -1), "centre": np.zeros(1), "scale": np.ones(1)}
    with pytest.raises(InputError, match="64 points"):
        site_glm.glm_path(tables[0], Request(design, arrays))


@pytest.mark.parametrize("config", [{"of_count": 2}, {"of_count": 10**9}, {"of_scheme": "patients", "of_count": 10**9}])
def test_sets_that_only_fill_memory_are_refused(tables, config):
    with pytest.raises(InputError):
        members(tables[0], Request({"of_folds": 5, "of_seed": 0, **config}))


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scales_are_finite_and_above_0(tables, scale):
    arrays = {"genes": np.arange(3), "centre": np.zeros(1), "scale": np.array([scale])}
    with pytest.raises(InputError, match="scales above 0"):
        site_limma.de_products(tables[0], Request({"numeric": ["age"]}, arrays))
    config = {**WORDS, "numeric": ["age"], "centre": [0.0], "scale": [scale]}
    with pytest.raises(InputError, match="scales above 0"):
        site_mlp.train(tables[0], Request(config))


def test_the_network_s_recipe_is_the_run_config_s(settings):
    """Epochs, step and batches are in ranges that a DIZ approves; a message may not go beyond them."""
    said = settings("mlp")
    config = {**WORDS, "outcome": "class:case", **{f"mlp_{name}": getattr(said, name) for name in approved.RECIPE}}
    approved.check("train", Request(config), said)
    for name, value in (("epochs", 10**9), ("batch_size", 1), ("learning_rate", 1e6), ("seed", 1)):
        with pytest.raises(InputError, match=name.replace("_", "-")):
            approved.check("train", Request({**config, f"mlp_{name}": value}), said)
    del config["mlp_epochs"]
    with pytest.raises(InputError, match="epochs"):
        approved.check("train", Request(config), said)


def test_numbers_that_are_not_finite_are_refused(settings):
    asked = Request({**WORDS, "outcome": "class:case"}, {"coefficients": np.array([0.0, np.nan])})
    with pytest.raises(InputError, match="not finite"):
        approved.check("glm_step", asked, settings("classify"))


def test_the_clientapp_holds_every_message_to_the_run_config(run):
    """A message that was sent in an honest run, with one column more."""
    _, grid = run("synthetic-microarray", "differential")
    message = next(m for m in grid.seen if m.metadata.message_type == "query.de_design")
    message.content["more"] = ConfigRecord({"numeric": ["age", "time"]})
    store = {"data-expression": str(grid.data / "DIZ-2" / "expression")}
    try:
        with pytest.raises(InputError, match="'time' is not in the approved run config"):
            client_app._request(message, Context(1, 2, store, message.content, dict(grid.run_config)))
        message.content["more"] = ArrayRecord({"centre": Array(np.array([np.inf]))})
        with pytest.raises(InputError, match="not finite"):
            client_app._request(message, Context(1, 2, store, message.content, dict(grid.run_config)))
    finally:
        del message.content["more"]


def test_the_hub_cannot_choose_groups_of_diz_by_itself():
    """A group of a DIZ and an id that nobody has is one DIZ: who validates by DIZ states so in the terms."""
    terms = Terms.model_validate(tomllib.loads(PYPROJECT.read_text())["tool"]["flame"])
    assert terms.run_config["validation"].one_of == ("none", "patients")
    table = Table(
        np.ones((4, 1)),
        LOG2,
        {},
        {"split": np.zeros(4, dtype=np.int64)},
        {"split": ("train", "test")},
        tuple("abcd"),
        ("G",),
        1,
    )
    groups = {"of_scheme": "sites", "of_nodes": ["1", "99", "2", "3"], "of_groups": [0, 0, 1, 1], "of_held_out": True}
    assert members(
        table, Request({**groups, "approved_validation": "sites"})
    ).all()  # 99 is nobody's: the sum is DIZ 1's
    with pytest.raises(InputError, match="not approved"):
        members(table, Request({**groups, "approved_validation": "patients"}))
