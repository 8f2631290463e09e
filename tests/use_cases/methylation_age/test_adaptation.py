"""The adapted clock from sums over five DIZ is that of the pooled rows, step by step; made-up cohorts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from flame_strategies.sums import add_up
from methylation_age import adaptation_run, feature_models, horvath, similarity, site_adaptation, spectrum, sums
from methylation_age.adaptation_run import AdaptationSettings, run_adaptation
from methylation_age.cohort import Cohort
from methylation_age.elastic_net_run import LEAST, SIMILARITY, ElasticNetSettings
from methylation_age.errors import InputError
from methylation_age.folds import SITES

CPGS = 80
NET = ElasticNetSettings(l1_ratio=0.8, lambda_count=6, lambda_min_ratio=0.05, folds=3)


def cohort(n: int, seed: int, *, broken: Sequence[int] = (), tissue: str = "") -> Cohort:
    """Betas of CpGs that hang together through age and four hidden causes; in `broken` ones nothing does."""
    fixed = np.random.default_rng(0)
    causes, slope = fixed.normal(0, 0.04, (4, CPGS)), fixed.normal(0, 0.05, CPGS)
    generator = np.random.default_rng(seed)
    age = generator.uniform(0, 90, n)
    betas = 0.5 + np.outer(horvath.transform(age), slope) + generator.normal(0, 1, (n, 4)) @ causes
    betas += generator.normal(0, 0.02, betas.shape)
    for column in broken:
        betas[:, column] = generator.permutation(betas[:, column]) + 0.1
    betas[generator.random(betas.shape) < 0.01] = np.nan
    ids = tuple(f"P{seed}-{row // 2}" for row in range(n))
    return Cohort(betas, age, horvath.transform(age), ids, (tissue,) * n)


def pooled(cohorts: Sequence[Cohort]) -> Cohort:
    """All rows in one."""
    return Cohort(
        np.concatenate([c.betas for c in cohorts]),
        np.concatenate([c.age for c in cohorts]),
        np.concatenate([c.target for c in cohorts]),
        sum((c.patient_ids for c in cohorts), ()),
        sum((c.tissue for c in cohorts), ()),
    )


@dataclass
class Sites:
    """An exchange over DIZ in memory, each of (training samples, target samples)."""

    of: Sequence[tuple[Cohort, Cohort]]
    asked: list[tuple[str, object]] = field(default_factory=list)

    @property
    def sites(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.of) + 1))

    def __call__(self, kind, content):
        self.asked.append((kind, content))
        answers = {node: self._answer(node, kind, content) for node in self.sites}
        return add_up(answers)

    def _answer(self, node, kind, content):
        train, target = self.of[node - 1]
        if kind == "query.moments":
            return sums.moments(train)
        if kind == "query.path_errors":
            path = content["path"]
            of_tissue = target.of_tissue(content["target"]["tissue"])
            arrays = (path[name] for name in ("columns", "centre", "coef", "intercept"))
            return site_adaptation.path_errors(of_tissue, *arrays)
        reference = sums.Reference.from_arrays(content["reference"])
        if kind == "query.sketch":
            asked = content["sketch"]
            columns = (asked["start"], asked["stop"])
            return site_adaptation.sketch(train, reference, asked["seed"], asked["rows"], columns)
        if kind == "query.confidences":
            given, asked = content["models"], content["target"]
            of = spectrum.Spectrum(given["values"], given["vectors"], asked["rows"])
            models = feature_models.FeatureModels(given["signal"], given["noise"])
            return site_adaptation.confidences(target.of_tissue(asked["tissue"]), reference, of, models)
        folds = content["folds"]
        members, sizes = folds.get("sites", []), folds.get("sizes", [])
        ends = np.cumsum(sizes, dtype=int)
        groups = tuple(tuple(members[end - size : end]) for end, size in zip(ends, sizes, strict=True))
        parted = sums.split_folds(train, reference, folds["folds"], groups, node)
        if kind == "query.target":
            return sums.target(parted)
        return sums.columns(parted, content["reference"]["columns"])


NOBODY = replace(
    cohort(1, 0), betas=np.empty((0, CPGS)), age=np.empty(0), target=np.empty(0), patient_ids=(), tissue=()
)


@pytest.fixture(scope="module")
def five() -> list[tuple[Cohort, Cohort]]:
    """Five DIZ of unlike size, two of which have samples of the target."""
    sizes = (12, 9, 20, 7, 12)
    targets = (NOBODY, cohort(15, 101, broken=range(8)), NOBODY, NOBODY, cohort(12, 102, broken=range(8)))
    return [(cohort(n, seed), target) for seed, (n, target) in enumerate(zip(sizes, targets, strict=True), start=1)]


def test_five_diz_give_the_pooled_clock(five) -> None:
    """Confidences, penalty and coefficients are those of one DIZ that holds all rows, to rounding."""
    settings = AdaptationSettings(NET, rule=LEAST, seed=3)
    many = run_adaptation(Sites(five), settings)
    one = run_adaptation(Sites([(pooled([t for t, _ in five]), pooled([t for _, t in five]))]), settings)
    assert many.weighted is not None
    assert one.weighted is not None
    assert many.confidences.mean == pytest.approx(one.confidences.mean, abs=1e-9)
    assert many.confidences.samples == 27
    assert many.chosen == one.chosen
    assert np.array_equal(many.adapted.columns, one.adapted.columns)
    assert many.adapted.coef == pytest.approx(one.adapted.coef, rel=1e-7)
    assert many.plain.coef == pytest.approx(one.plain.coef, rel=1e-7)


def test_the_broken_cpgs_are_penalised(five) -> None:
    """The eight CpGs in which the target differs have the least confidences and the largest weights."""
    found = run_adaptation(Sites(five), AdaptationSettings(NET, seed=3)).confidences
    assert found.mean[:8].max() < 0.2
    assert found.mean[8:].mean() > 0.4
    weights = feature_models.weights(found.mean)
    assert weights[:8].min() > np.median(weights[8:])


def test_nothing_about_the_target_but_confidences_is_asked(five) -> None:
    """One message of confidences; the target's ages are never asked for."""
    exchange = Sites(five)
    run_adaptation(exchange, AdaptationSettings(NET, seed=3))
    kinds = [kind for kind, _ in exchange.asked]
    assert kinds.count("query.confidences") == 1
    assert kinds.count("query.moments") == 1
    assert "query.path_errors" not in kinds


def test_a_target_that_fits_nowhere_leaves_the_plain_clock(five) -> None:
    """Where most CpGs differ the verdict is no, and the clock is the plain elastic net's."""
    lost = cohort(20, 103, broken=range(70))
    sites = [(train, lost if number == 0 else NOBODY) for number, (train, _) in enumerate(five)]
    found = run_adaptation(Sites(sites), AdaptationSettings(NET, seed=3))
    assert found.weighted is None
    assert found.adapted is found.plain
    assert found.training()["adapted"] is False


def test_too_few_samples_of_the_target_are_refused(five) -> None:
    """A DIZ with fewer than five answers nothing about them; the hub asks for ten in all."""
    few = cohort(4, 104)
    with pytest.raises(InputError, match="Fewer than 5"):
        run_adaptation(Sites([(five[0][0], few), *five[1:]]), AdaptationSettings(NET))
    with pytest.raises(InputError, match="have 6 samples"):
        run_adaptation(Sites([(five[0][0], cohort(6, 105)), (five[1][0], NOBODY)]), AdaptationSettings(NET))


class TestFoldsOfSites:
    def test_they_are_two_groups_and_give_the_errors_of_unseen_diz(self, five) -> None:
        """The cross-validated errors are those of fits on the one group, measured on the other."""
        exchange = Sites([(train, NOBODY) for train, _ in five])
        net = replace(NET, folds=5, folds_by=SITES)
        path = adaptation_run.fit_path(adaptation_run.Remembered(exchange, "query.moments"), net)
        asked = [content["folds"] for kind, content in exchange.asked if kind == "query.target"]
        assert asked == [{"folds": 2, "sites": [1, 3, 5, 2, 4], "sizes": [3, 2]}]
        assert path.cv_mse[-1] < path.cv_mse[0]

    @pytest.mark.parametrize(
        "groups", [((1,), (2, 3)), ((1, 2), (2, 3)), ((2, 3), (4, 5))], ids=["one", "twice", "not in"]
    )
    def test_a_group_that_hides_nobody_is_refused(self, groups) -> None:
        """One DIZ alone, one in two groups, or a DIZ that is in none."""
        with pytest.raises(InputError):
            sums.fold_of_site(groups, 1)

    def test_three_diz_have_no_two_groups(self, five) -> None:
        """The error says what to do."""
        exchange = Sites([(train, NOBODY) for train, _ in five[:3]])
        with pytest.raises(InputError, match="folds-by"):
            adaptation_run.fit_path(adaptation_run.Remembered(exchange, "query.moments"), replace(NET, folds_by=SITES))


class TestSimilarity:
    def test_the_penalty_is_on_the_line_of_the_other_tissues(self, five) -> None:
        """Two tissues of known ages give a line; the third takes the penalty nearest to it."""
        names = ("liver", "whole blood", "goal")
        tissues = [cohort(14, 200 + at, broken=range(12 + at), tissue=name) for at, name in enumerate(names)]
        targets = [*tissues, NOBODY, NOBODY]
        sites = [(train, target) for (train, _), target in zip(five, targets, strict=True)]
        similar = similarity.parse("liver=0.9 whole_blood=0.5 goal=0.7")
        settings = AdaptationSettings(NET, tissue="goal", rule=SIMILARITY, similarity=similar, seed=3)
        exchange = Sites(sites)
        found = run_adaptation(exchange, settings)
        assert found.weighted is not None
        best = {}
        for name, target in zip(names[:2], tissues[:2], strict=True):
            single = run_adaptation(Sites(sites), replace(settings, tissue=name, rule=LEAST))
            ages = [adaptation_run.clock_at(single.weighted, at) for at in range(NET.lambda_count)]
            errors = [np.abs(clock.predict(target.betas[:, clock.columns]) - target.age).mean() for clock in ages]
            best[name] = float(single.weighted.lambdas[int(np.argmin(errors))])
        middle = np.sqrt(best["liver"] * best["whole blood"])
        nearest = int(np.argmin(np.abs(np.log(found.weighted.lambdas / middle))))
        assert found.chosen == nearest

    def test_a_line_through_two_points(self) -> None:
        """log penalty falls linearly with similarity."""
        best = {"a": 0.1, "b": 0.001}
        penalty = similarity.predicted_penalty(best, {"a": 0.0, "b": 1.0, "c": 0.5}, "c")
        assert penalty == pytest.approx(0.01)

    @pytest.mark.parametrize("text", ["liver", "liver=", "=0.3", "liver=x", "liver=nan"])
    def test_what_is_no_similarity_is_refused(self, text: str) -> None:
        """With the form that is meant."""
        with pytest.raises(InputError):
            similarity.parse(text)

    def test_one_tissue_makes_no_line(self) -> None:
        """Nor do two of equal similarity."""
        with pytest.raises(InputError, match="line"):
            similarity.predicted_penalty({"a": 0.1, "b": 0.2}, {"a": 0.5, "b": 0.5, "c": 0.4}, "c")
