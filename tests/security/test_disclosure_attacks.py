"""Questions that single a patient out, asked of an honest app.

Each attack is made twice: first where the rule that stands in its way is loosened, and it succeeds; then by the default
rules (or by the policy "noise", which a test's name says), and it does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flame_fl.contract.content import Content
from flame_fl.contract.disclosure_terms import Disclosure
from flame_fl.contract.ports import Envelope
from flame_fl.contract.refusal import RefusalCode, RefusedError
from flame_fl.contract.release_contract import MessageTerms
from flame_fl.data.layout import Layout
from flame_fl.data.offer import Offer
from flame_fl.gate.disclosure import Disclosed, DisclosureFacts, disclose
from flame_fl.gate.disclosure_differences import require_apart
from flame_fl.gate.workflow import NodeLimits
from tests.support.gates import TRAIN, FakeOffers, World, make_fab, terms_table

WHY = "An attack that is to succeed."
NUMBERS = {"max_numbers_per_patient": 1e6, "max_numbers_per_patient_in_total": 1e6, "exemption": WHY}
Vector = npt.NDArray[np.float64]

MEAN = MessageTerms.model_validate(
    {
        "per_run": 1000,
        "arrays": [
            {"record": "a", "name": "mean", "dtype": "float64", "shape": [1], "kind": "mean", "contributors": "n",
             "largest_share": "top"},
            {"record": "a", "name": "n", "dtype": "int64", "shape": [1]},
            {"record": "a", "name": "top", "dtype": "float64", "shape": [1]},
        ],
    }
)  # fmt: skip
TABLE = MessageTerms.model_validate(
    {
        "per_run": 1000,
        "arrays": [{"record": "a", "name": "h", "dtype": "int64", "shape": ["<=100"], "kind": "histogram"}],
        "metrics": [
            {"record": "m", "name": "num-examples", "kind": "count"},
            {"record": "m", "name": "value", "kind": "mean"},
            {"record": "m", "name": "share", "kind": "rate", "denominator": "num-examples"},
        ],
    }
)


def weighted_mean(values: Vector, weights: Vector) -> Content:
    """An honest app that averages what the server weighs, and says how many patients are behind the average."""
    parts = weights * values
    arrays = {
        "mean": np.array([parts.mean()]),
        "n": np.array([np.count_nonzero(parts)]),
        "top": np.array([np.abs(parts).max() / np.abs(parts).sum()]),
    }
    return Content({"a": arrays})


def table(counts: Sequence[int], **metrics: Any) -> Content:
    """An honest app that counts."""
    return Content({"a": {"h": np.array(counts, np.int64)}}, {"m": metrics} if metrics else {})


@dataclass
class Site:
    """A DIZ that answers: the rules, and how many numbers left so far."""

    patients: int
    terms: Disclosure = field(default_factory=Disclosure)
    rules: MessageTerms = MEAN
    left: int = 0

    @classmethod
    def under(cls, patients: int, rules: MessageTerms = MEAN, **terms: Any) -> "Site":
        return cls(patients, Disclosure.model_validate(terms), rules)

    def let_go(self, update: Content, message: int = 0) -> Content:
        facts = DisclosureFacts(self.patients, self.left, "c" * 64, f"{message:064x}", b"k" * 32)
        done: Disclosed = disclose(update, self.rules, self.terms, facts)
        self.left += done.notes.numbers
        return done.content

    def mean(self, update: Content, message: int = 0) -> float:
        return float(self.let_go(update, message).arrays["a"]["mean"][0])

    def counts(self, update: Content, message: int = 0) -> npt.NDArray[np.int64]:
        return self.let_go(update, message).arrays["a"]["h"]


@pytest.fixture
def values() -> Vector:
    """A laboratory value of sixty patients."""
    return np.random.default_rng(60).normal(140, 20, 60)


def test_the_mean_under_a_unit_vector_is_no_patients_value(values: Vector) -> None:
    """The server's weights are 1 for patient 7 and 0 for everybody else."""
    mask = np.zeros(60)
    mask[7] = 1
    asked = weighted_mean(values, mask)
    loose = Site.under(60, min_cell=1, dominance=1.0, complementary=False, exemption=WHY)
    assert 60 * loose.mean(asked) == pytest.approx(values[7])
    assert Site.under(60).mean(asked) == 0


def test_one_patient_does_not_hide_among_tiny_weights(values: Vector) -> None:
    """Everybody contributes, and patient 7 makes up 94 % of the sum; what the others add is known well enough."""
    mask = np.full(60, 1e-3)
    mask[7] = 1
    asked = weighted_mean(values, mask)
    rest = 1e-3 * 59 * 140
    assert 60 * Site.under(60, dominance=1.0, exemption=WHY).mean(asked) - rest == pytest.approx(values[7], abs=1)
    assert Site.under(60).mean(asked) == 0


def test_covariances_with_known_vectors_do_not_add_up_to_a_column(values: Vector) -> None:
    """Huth et al. (Bioinformatics 39, 2023): n linearly independent vectors, their covariances with a column, its mean.

    Each answer is harmless. All of them are n equations for n patients. What leaves by default is at most n - 1, and
    then another column has the same answers.
    """
    n = len(values)
    questions = np.random.default_rng(1).normal(size=(n, n))
    questions = (questions - questions.mean(axis=1, keepdims=True)) * n / (n - 1)  # covariances, written as a mean
    questions[0] = 1
    open_ = Site.under(n, **NUMBERS)
    answers = np.array([open_.mean(weighted_mean(values, q), at) for at, q in enumerate(questions)])
    assert np.linalg.solve(questions / n, answers) == pytest.approx(values, rel=1e-6)

    site = Site.under(n)
    told = [site.mean(weighted_mean(values, q), at) for at, q in enumerate(questions[:-1])]
    with pytest.raises(RefusedError, match="904"):
        site.mean(weighted_mean(values, questions[-1]), n)
    direction = np.linalg.svd(questions[:-1])[2][-1]
    other = values + 5 * direction
    assert np.abs(other - values).max() > 0.5
    assert questions[:-1] @ other / n == pytest.approx(np.array(told), rel=1e-9)


def test_counts_of_chosen_groups_do_not_add_up_to_everybodys_diagnosis() -> None:
    """As above with yes and no: a count is a number like any other, though it leaves as a single metric."""
    rng = np.random.default_rng(2)
    ill = rng.integers(0, 2, 100)
    groups = rng.integers(0, 2, (100, 100))
    answers = [int(group @ ill) for group in groups]
    assert min(answers) >= 10  # so no cell is small
    rules = MessageTerms.model_validate(
        {"per_run": 1000, "metrics": [{"record": "m", "name": "num-examples", "kind": "count"}]}
    )

    def ask(site: Site, at: int) -> int:
        told = site.let_go(Content(metrics={"m": {"num-examples": answers[at]}}), at).metrics["m"]["num-examples"]
        assert isinstance(told, int)
        return told

    open_ = Site.under(100, rules, **NUMBERS)
    told = [ask(open_, at) for at in range(100)]
    assert np.rint(np.linalg.solve(groups, told)).astype(int).tolist() == ill.tolist()
    site = Site.under(100, rules)
    for at in range(99):
        ask(site, at)
    with pytest.raises(RefusedError, match="904"):
        ask(site, 99)


def test_one_answer_does_not_hold_a_number_for_each_patient(values: Vector) -> None:
    """The column itself, under the name of a model."""
    rules = MessageTerms.model_validate(
        {"per_run": 1, "arrays": [{"record": "a", "name": "w", "dtype": "float64", "shape": [60]}]}
    )
    column = Content({"a": {"w": values}})
    assert Site.under(60, rules, **NUMBERS).let_go(column).arrays["a"]["w"].tolist() == values.tolist()
    with pytest.raises(RefusedError, match="904") as caught:
        Site.under(60, rules).let_go(column)
    assert "60 numbers about 60 patients" in caught.value.detail


def test_two_cohorts_that_differ_by_one_patient_are_not_both_answered() -> None:
    """Two analyses whose conditions differ by a day, and their cohorts by a patient: so do their sums."""
    values = np.random.default_rng(3).normal(140, 20, 100)
    everybody, without = np.arange(100, dtype=np.uint64), np.arange(99, dtype=np.uint64)
    assert values[everybody].sum() - values[without].sum() == pytest.approx(values[99])
    require_apart("cohort", without, [], 10)  # with compare_with = "analysis" the other one's answers are not looked at
    with pytest.raises(RefusedError, match="907"):
        require_apart("cohort", without, [everybody], 10)


def test_stepping_over_a_subset_in_between_is_seen() -> None:
    """Everybody, then all without fifteen, then all without one: each is far from the one before."""
    everybody = np.arange(100, dtype=np.uint64)
    less, last = everybody[15:], everybody[1:]
    require_apart("cohort", less, [everybody], 10)
    require_apart("cohort", last, [less], 10)  # by the last answer alone it would pass
    with pytest.raises(RefusedError, match="907"):
        require_apart("cohort", last, [everybody, less], 10)


class TestRepeatedRows:
    """A patient with a hundred rows is one patient, whoever counts rows."""

    @pytest.fixture
    def offer(self, tmp_path: Path) -> Offer:
        """Nine patients, one of them with a hundred rows."""
        folder = tmp_path / "table"
        folder.mkdir()
        ids = ["p0"] * 100 + [f"p{n}" for n in range(1, 9)]
        pq.write_table(pa.table({"patient_id": ids, "x": [1.0] * len(ids)}), folder / "samples.parquet")
        return Offer("cohort", folder, "5" * 64, Layout("table", "samples.parquet", "patient_id"))

    def test_rows_do_not_make_a_cohort(self, offer: Offer, make_world: Callable[..., World]) -> None:
        data = FakeOffers(cohort=offer)  # type: ignore[arg-type]
        small = {"table": "samples.parquet", "patient_id": "patient_id", "columns": ["*"], "min_patients": 1}
        low = NodeLimits(epsilon_cap=1.0, delta=1e-5, min_patients=1)
        open_ = make_world(data=data, limits=low)
        loose = make_fab(terms_table(data={"cohort": small}, disclosure=NUMBERS))
        open_.decide(loose)
        assert open_.code(loose) is None
        default = make_fab()
        world = make_world(data=data, limits=low)
        world.decide(default)
        assert world.code(default) is RefusalCode.TERMS_VIOLATED
        assert "fewer than 10 patients" in world.detail

    def test_rows_are_no_contributors(self) -> None:
        """An app that counts rows says there are more contributors than patients."""
        arrays = {"mean": np.array([1.0]), "n": np.array([108]), "top": np.array([0.01])}
        assert Site.under(108).mean(Content({"a": arrays})) == 1
        with pytest.raises(RefusedError, match="904"):
            Site.under(9).mean(Content({"a": arrays}))


def test_a_small_cell_of_a_histogram_does_not_leave() -> None:
    """One patient over a hundred years old."""
    asked = table([60, 39, 1])
    assert Site.under(100, TABLE, min_cell=1, exemption=WHY).counts(asked).tolist() == [60, 39, 1]
    assert Site.under(100, TABLE).counts(asked).tolist() == [60, 0, 0]


def test_the_difference_to_a_margin_is_no_small_cell() -> None:
    """The total leaves beside the table: without the complement, what is hidden is the difference."""
    asked = table([60, 37, 3], **{"num-examples": 100})

    def missing(site: Site) -> int:
        left = site.let_go(asked)
        total = left.metrics["m"]["num-examples"]
        assert isinstance(total, int)
        return total - int(left.arrays["a"]["h"].sum())

    assert missing(Site.under(100, TABLE, complementary=False, exemption=WHY)) == 3
    assert missing(Site.under(100, TABLE)) == 40


def test_a_rate_is_no_small_cell_either() -> None:
    """3 % of a hundred are three patients."""
    asked = table([50, 50], share=0.03, **{"num-examples": 100})
    open_ = Site.under(100, TABLE, min_cell=1, exemption=WHY).let_go(asked)
    assert open_.metrics["m"]["share"] == 0.03
    assert "share" not in Site.under(100, TABLE).let_go(asked).metrics["m"]


def test_under_noise_an_edge_that_moves_over_a_patient_is_hard_to_see() -> None:
    """A server moves a table's edge through 400 places; between half of them there is one patient.

    Of exact counts, two neighbours tell which: 400 of 400 right. Of noised counts, the best guess from the same two is
    right in 59 % (by the distribution, at its best threshold); 70 % of 400 or more would be four standard
    deviations off.
    """
    has_one = np.random.default_rng(4).integers(0, 2, 400)
    below = 200 + np.concatenate([[0], np.cumsum(has_one)])

    def told(site: Site) -> npt.NDArray[np.int64]:
        return np.array([site.counts(table([count]), at)[0] for at, count in enumerate(below)])

    exact = np.diff(told(Site.under(1000, TABLE)))
    assert exact.tolist() == has_one.tolist()
    noised = np.diff(told(Site.under(1000, TABLE, counts="noise")))
    right = max(((noised > cut) == has_one).mean() for cut in range(-6, 7))
    assert right < 0.7


def test_asking_again_does_not_average_the_noise_away() -> None:
    """Sixty counts, asked 900 times. Fresh noise of the same size averages to within 0.08 of each: all are read off.

    The same message brings the same answer; another message that asks the same leaves the layer that belongs to the
    count, and that is 0 for about a quarter of them.
    """
    true = np.random.default_rng(5).integers(50, 500, 60)
    rng = np.random.default_rng(6)
    fresh = [true + rng.integers(0, 4, (4, 60)).T @ [1, -1, 1, -1] for _ in range(900)]
    assert (np.rint(np.mean(fresh, axis=0)) == true).all()

    site = Site.under(60, TABLE, counts="noise", **NUMBERS)
    same = {site.counts(table(true.tolist()), 0).tobytes() for _ in range(20)}
    assert len(same) == 1
    other = [site.counts(table(true.tolist()), at) for at in range(900)]
    assert (np.rint(np.mean(other, axis=0)) == true).mean() < 0.5


def test_the_last_digits_of_a_mean_carry_no_birth_date() -> None:
    """A mean of 0.123456, and a day behind it."""
    asked = table([50], value=0.123456 + 19570312e-14)

    def day(site: Site) -> int:
        value = site.let_go(asked).metrics["m"]["value"]
        assert isinstance(value, float)
        return round((value - 0.123456) * 1e14)

    assert day(Site.under(100, TABLE, significant_digits=None, exemption=WHY)) == 19570312
    assert day(Site.under(100, TABLE)) == 0


class TestThroughTheGate:
    """The same rules at work in a gate."""

    SUMS: ClassVar[dict[str, Any]] = {
        "per_run": 3,
        "arrays": [
            {"record": "a", "name": "s", "dtype": "float64", "shape": [2], "kind": "sum", "contributors": "n",
             "largest_share": "top"},
            {"record": "a", "name": "n", "dtype": "int64", "shape": [2]},
            {"record": "a", "name": "top", "dtype": "float64", "shape": [2]},
        ],
        "metrics": [{"record": "m", "name": "ages", "kind": "count", "length": 20}],
    }  # fmt: skip

    def answer(self, message: Envelope) -> Content:
        arrays = {"s": np.array([0.25, 0.5]), "n": np.array([100, 1]), "top": np.array([0.1, 1.0])}
        return Content({"a": arrays}, {"m": {"ages": list(range(100, 120))}})

    def test_numbers_are_counted_over_all_runs_of_an_analysis(self, make_world: Callable[..., World]) -> None:
        """Seven numbers in each answer, about 22 patients: three answers, whatever run they are in."""

        def answered(**disclosure: Any) -> list[RefusalCode | None]:
            world = make_world()
            world.data["cohort"].people = range(22)
            fab = make_fab(terms_table(disclosure=disclosure))
            world.decide(fab)
            return [world.code(fab, leg=leg, run_id=run) for run, leg in ((1, "1"), (1, "2"), (2, "1"), (2, "2"))]

        assert answered(**NUMBERS) == [None] * 4
        assert answered() == [None] * 3 + [RefusalCode.RELEASE_REJECTED]

    def test_two_analyses_about_nearly_the_same_patients(self, make_world: Callable[..., World]) -> None:
        def answered(**disclosure: Any) -> RefusalCode | None:
            world = make_world()
            first, second = (make_fab(terms_table(disclosure=disclosure), name=name) for name in ("one", "two"))
            for fab in (first, second):
                world.decide(fab)
            world.released(first, run_id=1)
            world.data["cohort"].people = range(99)  # what another condition would choose
            return world.code(second, run_id=2)

        assert answered(compare_with="analysis", exemption=WHY) is None
        assert answered() is RefusalCode.WITHDRAWN_OR_EXPIRED

    def test_numbers_add_up_over_the_answers_of_a_run(self, make_world: Callable[..., World]) -> None:
        """Seven numbers in each answer, about 22 patients: three answers."""

        def answered(**disclosure: Any) -> list[RefusalCode | None]:
            world = make_world()
            world.data["cohort"].people = range(22)
            fab = make_fab(terms_table(messages={"train": TRAIN | {"per_run": 4}}, disclosure=disclosure))
            world.decide(fab)
            return [world.code(fab, leg=leg) for leg in "1234"]

        assert answered(**NUMBERS) == [None] * 4
        assert answered() == [None] * 3 + [RefusalCode.RELEASE_REJECTED]

    def test_companions_do_not_leave(self, make_world: Callable[..., World]) -> None:
        world = make_world()
        world.sandbox.answer = self.answer
        fab = make_fab(terms_table(messages={"train": self.SUMS}))
        world.decide(fab)
        left = world.released(fab)
        assert list(left.arrays["a"]) == ["s"]
        assert left.arrays["a"]["s"].tolist() == [0.25, 0.0]

    def test_what_was_hidden_is_in_the_nodes_own_log(self, make_world: Callable[..., World]) -> None:
        world = make_world()
        world.sandbox.answer = self.answer
        fab = make_fab(terms_table(messages={"train": self.SUMS}))
        world.decide(fab)
        world.released(fab)
        said = dict(world.audit())["released"]["disclosure"]
        assert said == {"numbers": 22, "hidden": [["array 'a'/'s'", "few", 1]]}

    def test_the_same_message_under_another_leg_has_the_same_noise(self, make_world: Callable[..., World]) -> None:
        world = make_world()
        world.sandbox.answer = self.answer
        fab = make_fab(terms_table(messages={"train": self.SUMS}, disclosure={"counts": "noise"}))
        world.decide(fab)
        first, again = (world.released(fab, leg=leg).metrics["m"]["ages"] for leg in ("1", "2"))
        other = world.released(fab, leg="3", content=Content({"a": {"x": np.ones(1)}})).metrics["m"]["ages"]
        assert first == again
        assert first != other
        assert first != list(range(100, 120))
