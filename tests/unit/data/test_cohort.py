"""Whose records are used. Default deny: what is not known to be allowed is not used."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.data_terms import Condition
from flame_fl.contract.errors import InputError
from flame_fl.data.cohort import Cohort, choose
from flame_fl.data.kind import Kind, open_kind
from flame_fl.data.layout import Layout
from flame_fl.data.spec import CohortRule, ConsentRule, Window

Make = Callable[..., Kind]
CSV = "pid,age,score,day,seen,consent,alive,empty\n" + "".join(
    f"{line}\n"
    for line in [
        "a,17,0.5,2014-12-31,2020-01-01T10:00:00,yes,true,",
        "b,18,1.5,2015-01-01,2020-01-02T00:00:00,no,false,",
        "b,40,,2024-12-31,2020-01-02T23:59:59,yes,true,",
        ",50,1.5,2020-06-01,2020-01-03T10:00:00,yes,true,",
        "c,,2.5,,,,,",
    ]
)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A store from columns, or the one of CSV."""

    def made(columns: dict[str, Any] | None = None) -> Kind:
        if columns is None:
            (tmp_path / "t.csv").write_text(CSV)
            return open_kind(tmp_path, Layout("table", "t.csv", "pid"))
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        return open_kind(tmp_path, Layout("table", "t.parquet", "pid"))

    return made


def rows(kind: Kind, *conditions: Condition, **rule: Any) -> list[int]:
    found: list[int] = choose(kind, CohortRule(where=conditions, **rule)).rows.tolist()
    return found


def met(kind: Kind, column: str, op: str, value: object = None, values: tuple[object, ...] = ()) -> list[int]:
    return rows(kind, Condition.model_validate({"column": column, "op": op, "value": value, "values": values}))


def test_without_a_rule_every_record_that_belongs_to_somebody(make: Make) -> None:
    """The fourth row names no patient: nobody could have consented, and nobody could opt out."""
    found = choose(make(), CohortRule(), mask=len)
    assert (found.rows.tolist(), found.patients) == ([0, 1, 2, 4], 3)
    assert found.rows.dtype == np.int64


@pytest.mark.parametrize(
    ("column", "op", "value", "expected"),
    [
        ("age", ">=", 18, [1, 2]), ("age", ">", 18, [2]), ("age", "<", 18, [0]), ("age", "<=", 18, [0, 1]),
        ("age", "==", 40, [2]), ("age", "!=", 40, [0, 1]), ("age", "==", 40.0, [2]),
        ("score", ">", 1, [1, 4]), ("score", "!=", 0.5, [1, 4]),
        ("pid", "==", "b", [1, 2]), ("pid", "!=", "b", [0, 4]), ("consent", "==", "yes", [0, 2]),
        ("alive", "==", True, [0, 2]), ("alive", "!=", True, [1]),
        ("day", ">=", date(2015, 1, 1), [1, 2]), ("day", "==", "2015-01-01", [1]),
        ("seen", ">=", date(2020, 1, 2), [1, 2]), ("seen", "<", date(2020, 1, 2), [0]),
    ],
)  # fmt: skip
def test_a_comparison(make: Make, column: str, op: str, value: object, expected: list[int]) -> None:
    """A row without a value meets none of them, not even `!=`."""
    assert met(make(), column, op, value) == expected


@pytest.mark.parametrize(
    ("column", "op", "values", "expected"),
    [("age", "in", (17, 40), [0, 2]), ("age", "not in", (17,), [1, 2]), ("consent", "not in", ("yes",), [1]),
     ("day", "in", (date(2015, 1, 1),), [1])],
)  # fmt: skip
def test_membership(make: Make, column: str, op: str, values: tuple[object, ...], expected: list[int]) -> None:
    assert met(make(), column, op, values=values) == expected


def test_presence(make: Make) -> None:
    assert met(make(), "score", "present") == [0, 1, 4]
    assert met(make(), "score", "missing") == [2]


def test_a_column_without_any_value_meets_no_condition(make: Make) -> None:
    """Not even a type can be read off it."""
    assert met(make(), "empty", "==", "yes") == []
    assert met(make(), "empty", "<", 3) == []
    assert met(make(), "empty", "not in", values=("yes",)) == []
    assert met(make(), "empty", "missing") == [0, 1, 2, 4]


def test_not_a_number_is_no_value(make: Make) -> None:
    """Many programs write what is missing so."""
    kind = make({"pid": ["a", "b", "c"], "x": [1.0, float("nan"), None]})
    assert met(kind, "x", "!=", 5) == [0]
    assert met(kind, "x", "not in", values=(5.0,)) == [0]
    assert met(kind, "x", "present") == [0]
    assert met(kind, "x", "missing") == [1, 2]


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)), 1.5),
        (pa.array(["x", None], pa.large_string()), "x"),
        (pa.array(["x", None]).dictionary_encode(), "x"),
        (pa.array([3, None], pa.uint8()), 3),
        (pa.array([1.5, None], pa.float32()), 1.5),
        (pa.array([date(2020, 1, 1), None], pa.date64()), "2020-01-01"),
        (pa.array([datetime(2020, 1, 1, tzinfo=UTC), None], pa.timestamp("ns", "Europe/Berlin")), "2020-01-01"),
        (pa.array([1577836800000, None], pa.timestamp("ms")), "2020-01-01"),
    ],
    ids=lambda v: str(getattr(v, "type", "")),
)
def test_every_width_of_a_type(make: Make, array: pa.Array, value: object) -> None:
    """A day compared with times begins at midnight, in UTC where they have a zone."""
    kind = make({"pid": ["a", "b"], "x": array})
    assert met(kind, "x", "==", value) == [0]
    assert met(kind, "x", "in", values=(value,)) == [0]


TYPED = {"pid": ["a", "b"], "age": [17, 18], "score": [0.5, None], "consent": ["yes", "no"], "alive": [True, None],
         "day": [date(2020, 1, 1), None], "seen": [datetime(2020, 1, 1, tzinfo=UTC), None]}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value"),
    [("age", "18"), ("age", True), ("age", 18.5), ("age", date(2020, 1, 1)), ("score", "x"), ("consent", 1),
     ("consent", True), ("alive", 1), ("alive", "yes"), ("day", "yesterday"), ("day", 2020), ("seen", 5),
     ("age", 2**70)],
)  # fmt: skip
def test_what_cannot_be_compared_is_said(make: Make, column: str, value: object) -> None:
    """The column and its type, and neither the value nor a patient's."""
    for op, how in (("==", {"value": value}), ("in", {"values": (value,)})):
        with pytest.raises(InputError, match=f"condition on {column!r}") as caught:
            rows(make(TYPED), Condition.model_validate({"column": column, "op": op, **how}))
        assert str(value) not in caught.value.message.replace("True", "")
        assert caught.value.mend


@pytest.mark.parametrize(("op", "value", "found"), [(">=", 18, [1, 2]), ("==", 18.0, [1]), ("<", 18, [0])])
@pytest.mark.parametrize("cell", ["unknown", "4 0", "", "NA", "yes"])
def test_one_cell_of_a_text_table_decides_about_its_own_record_only(
    tmp_path: Path, cell: str, op: str, value: float, found: list[int]
) -> None:
    """What a cell is compared as follows from the condition, never from what other people's cells look like."""
    (tmp_path / "t.csv").write_text(f"pid,age\na,17\nb,18\nc,40\nd,{cell}\n")
    assert met(open_kind(tmp_path, Layout("table", "t.csv", "pid")), "age", op, value) == found


def test_words_and_truth_of_a_text_table_are_compared_cell_by_cell(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("pid,x,b\na,30,true\nb,NA,False\nc,x,perhaps\n")
    kind = open_kind(tmp_path, Layout("table", "t.csv", "pid"))
    assert met(kind, "x", "==", "30") == [0]
    assert met(kind, "x", "missing") == [1]
    assert met(kind, "b", "==", True) == [0]
    assert met(kind, "b", "in", values=(False,)) == [1]


def test_times_of_day_cannot_be_compared(make: Make) -> None:
    kind = make({"pid": ["a"], "x": pa.array([1], pa.time32("s"))})
    with pytest.raises(InputError, match="condition on 'x'"):
        met(kind, "x", "<", 3)
    assert met(kind, "x", "present") == [0]


def test_a_column_that_is_not_there_is_named(make: Make) -> None:
    with pytest.raises(InputError, match="no column 'weight'"):
        met(make(), "weight", ">", 3)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({"from": date(2015, 1, 1), "until": date(2024, 12, 31)}, [1, 2]),
        ({"from": date(2015, 1, 1)}, [1, 2]),
        ({"until": date(2014, 12, 31)}, [0]),
        ({"until": date(2015, 1, 1)}, [0, 1]),
    ],
)
def test_a_window_has_its_first_and_its_last_day(make: Make, window: dict[str, date], expected: list[int]) -> None:
    assert rows(make(), window=Window.model_validate({"column": "day", **window})) == expected


def test_a_window_over_times_has_the_whole_last_day(make: Make) -> None:
    window = Window.model_validate({"column": "seen", "from": date(2020, 1, 2), "until": date(2020, 1, 2)})
    assert rows(make(), window=window) == [1, 2]


def test_consent_is_the_stated_values_and_nothing_else(make: Make) -> None:
    """Row by row: b consented at the second visit only."""
    assert rows(make(), consent=ConsentRule(column="consent", granted=("yes",))) == [0, 2]
    assert rows(make(), consent=ConsentRule(column="consent", granted=("Yes",))) == []


def test_consents_that_nobody_registered_let_nobody_in(make: Make) -> None:
    rule = CohortRule(consent=ConsentRule(provisions=("1.2.3",)))
    assert choose(make(), rule).patients == 0
    assert choose(make(), rule, consenting=frozenset({"b", "x"})).rows.tolist() == [1, 2]


def test_an_opt_out_takes_every_record_of_a_patient(make: Make) -> None:
    found = choose(make(), CohortRule(), opted_out=frozenset({"b", "nobody"}))
    assert (found.rows.tolist(), found.patients) == ([0, 4], 2)


def test_the_analysis_and_the_steward_both_decide(make: Make) -> None:
    """An analysis narrows what the steward allows; it cannot widen it."""
    rule = CohortRule(where=(Condition(column="age", op=">=", value=18),))
    own = [Condition(column="score", op="present")]
    assert choose(make(), rule, where=own).rows.tolist() == [1]
    assert choose(make(), rule, where=[Condition(column="age", op=">=", value=0)]).rows.tolist() == [1, 2]


def test_modalities_are_a_condition_on_their_column(make: Make) -> None:
    kind = make({"pid": ["a", "b"], "modality": ["mr", "ct"]})
    assert choose(kind, CohortRule(), modalities=("mr",)).rows.tolist() == [0]
    assert choose(kind, CohortRule(), modalities=("*",)).rows.tolist() == [0, 1]


def test_members_are_hashes_sorted_and_once_each(make: Make) -> None:
    """They leave no trace of the order of the table, and no id."""
    found = choose(make(), CohortRule(), mask={"a": 9, "b": 4, "c": 7}.__getitem__)
    assert found.members.tolist() == [4, 7, 9]
    assert found.members.dtype == np.uint64
    assert "members" not in repr(found)


def test_the_fingerprint_knows_patients_and_records(make: Make) -> None:
    mask = {"a": 9, "b": 4, "c": 7}.__getitem__
    one = choose(make(), CohortRule(), mask=mask)
    assert choose(make(), CohortRule(), mask=mask).fingerprint == one.fingerprint
    assert replace(one, rows=one.rows[1:]).fingerprint != one.fingerprint
    assert replace(one, members=one.members[1:]).fingerprint != one.fingerprint


def test_nobody_at_all_is_a_cohort(make: Make) -> None:
    found = choose(make(), CohortRule(), where=[Condition(column="age", op=">", value=1000)], mask=len)
    assert (found.rows.tolist(), found.patients, found.members.tolist()) == ([], 0, [])


def of(people: set[int]) -> Cohort:
    members = np.array(sorted(people), np.uint64)
    return Cohort(members.astype(np.int64), len(members), members)


PEOPLE = st.sets(st.integers(0, 2**63 - 1), max_size=20)


@given(one=PEOPLE, other=PEOPLE, both=PEOPLE)
def test_the_difference_is_that_of_sets(one: set[int], other: set[int], both: set[int]) -> None:
    left, right = of(one | both), of(other | both)
    assert left.differs_by(right.members) == len((one | both) ^ (other | both)) == right.differs_by(left.members)


@given(
    people=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=12),
    out=st.frozensets(st.sampled_from(["a", "b"])),
    data=st.data(),
)
def test_no_other_condition_lets_an_opted_out_patient_in(
    tmp_path: Path, people: list[str | None], out: frozenset[str], data: st.DataObject
) -> None:
    ages = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=len(people), max_size=len(people)))
    pq.write_table(
        pa.table({"pid": pa.array(people, pa.string()), "age": pa.array(ages, pa.int64())}), tmp_path / "t.parquet"
    )
    kind = open_kind(tmp_path, Layout("table", "t.parquet", "pid"))
    least = data.draw(st.integers(0, 3))
    found = choose(kind, CohortRule(where=(Condition(column="age", op=">=", value=least),)), opted_out=out)
    expected = [
        i
        for i, (p, age) in enumerate(zip(people, ages, strict=True))
        if p is not None and p not in out and age is not None and age >= least
    ]
    assert found.rows.tolist() == expected
    assert found.patients == len({people[i] for i in expected})


@pytest.mark.parametrize(
    ("ids", "gone"), [([7, 8], "007"), (["007", "8"], "7"), (["7 ", "8"], "7"), (["0", "8"], "00")]
)
def test_an_opt_out_finds_its_patient_however_zeros_and_blanks_are_written(
    make: Make, ids: list[Any], gone: str
) -> None:
    """A column of numbers has lost the zeros that the clinic writes; nobody stays in for that."""
    kind = make({"pid": ids})
    assert choose(kind, CohortRule(), opted_out=frozenset({gone})).rows.tolist() == [1]
    assert choose(kind, CohortRule(), opted_out=frozenset({"9"})).rows.tolist() == [0, 1]
