"""The quality report: right numbers, and each kind of oddity found where it is and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame_fl.contract.errors import InputError
from flame_fl.data import quality as module
from flame_fl.data.kind import open_kind
from flame_fl.data.layout import Layout
from flame_fl.data.quality import Quality, report
from flame_fl.data.quality_columns import MOST_DISTINCT, ColumnQuality, looked_at
from flame_fl.data.quality_units import ANALYTES, analyte_of, two_units
from flame_fl.data.records import column_type
from flame_fl.data.schema import Column, StoreSchema

TODAY = date(2024, 6, 1)


@dataclass
class Fake:
    """A kind with its records in memory, which notes what it is asked for."""

    table: pa.Table
    layout: Layout = field(default_factory=lambda: Layout("anndata", "x.h5ad", "patient"))
    folder: Path = Path("/nowhere")
    asked: list[list[str]] = field(default_factory=list)

    def schema(self) -> StoreSchema:
        columns = tuple(Column(name=f.name, type=column_type(f.type)) for f in self.table.schema)
        return StoreSchema(kind="anndata", table="x.h5ad", patient_id=self.layout.patient_id, columns=columns)

    def patients(self) -> list[str | None]:
        return list(self.table.column(self.layout.patient_id).to_pylist())

    def records(self, columns: Sequence[str]) -> pa.Table:
        self.asked.append(list(columns))
        return self.table.select(list(columns))


def of(name: str, values: Any, kind: pa.DataType | None = None) -> ColumnQuality:
    return looked_at(name, pa.chunked_array([pa.array(values, kind)]), TODAY)


def kinds(column: ColumnQuality) -> dict[str, int]:
    return {finding.kind: finding.count for finding in column.findings}


def stored(folder: Path, text: str, **layout: Any) -> Quality:
    folder.mkdir(exist_ok=True)
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return report(open_kind(folder, Layout("table", "t.csv", "patient", **layout)), today=TODAY)


# Of the table


def test_a_report_of_a_csv_file(tmp_path: Path) -> None:
    text = "patient,record,age,sex\np1,r1,50,f\np1,r2,51,f\np2,r2,,m\n,r4,140,m\n"
    found = stored(tmp_path / "s", text, record_id="record")
    assert (found.rows, found.patients, found.records_without_patient) == (4, 2, 1)
    assert (found.duplicate_record_ids, found.records_without_record_id, found.duplicate_rows) == (1, 0, 0)
    age = found.columns[2]
    assert (age.name, age.type, age.missing, age.distinct, age.min, age.max) == ("age", "int", 0.25, 3, 50, 140)
    assert age.mean == pytest.approx(241 / 3)
    assert kinds(age) == {"implausible-age": 1}


def test_a_report_is_json_and_back(tmp_path: Path) -> None:
    found = stored(tmp_path / "s", "patient,d,x\np1,01.02.2020,1.5\np2,1990-01-01,\n")
    assert Quality.model_validate_json(found.model_dump_json()) == found


def test_lines_say_what_is_odd_and_no_more(tmp_path: Path) -> None:
    found = stored(tmp_path / "s", "patient,age,site\np1,150,A\np1,150,A\np2,,A\n")
    assert found.lines() == [
        "3 records of 2 patients in 3 columns.",
        "1 rows are another row over again.",
        "age: 33.3 % missing.",
        "age: 2 values are no age from 0 to 120.",
        "site: All rows have one value.",
    ]


def test_record_ids_are_compared_as_they_are_written(tmp_path: Path) -> None:
    """The node refuses stores with ids twice: "7" and "007" are two, "7" and "7" are one."""
    text = "patient,record\np1,7\np2,007\np3,8\n"
    assert stored(tmp_path / "a", text, record_id="record").duplicate_record_ids == 0
    assert stored(tmp_path / "b", text + "p4,7\np4,7\n", record_id="record").duplicate_record_ids == 1


def test_record_ids_of_other_kinds() -> None:
    table = pa.table({"patient": ["p", "p", "p", "q"], "sample": ["a", "a", None, ""]})
    fake = Fake(table, Layout("anndata", "x.h5ad", "patient", record_id="sample"))
    found = report(fake, today=TODAY)
    assert (found.duplicate_record_ids, found.records_without_record_id) == (1, 2)


def test_patient_ids_that_are_alike(tmp_path: Path) -> None:
    found = stored(tmp_path / "s", "patient,x\nP1,1\np1,2\n P1,3\n007,4\n7,5\nP2,6\n")
    assert found.patients == 6
    assert found.similar_patient_ids == 3


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["a", "b", None]), st.sampled_from([0.5, None])), max_size=30)
)
def test_repeated_rows_are_counted_exactly(rows: list[tuple[Any, ...]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    types = (pa.int64(), pa.string(), pa.float64())
    repeated = module._Repeated(len(rows))
    for values, kind in zip(columns, types, strict=True):
        repeated.look_at(pa.chunked_array([pa.array(values[:3], kind), pa.array(values[3:], kind)]))
    assert repeated.count == len(rows) - len(set(rows))


def test_repeated_rows_with_lists_in_them() -> None:
    table = pa.table({"patient": ["p", "p", "p"], "x": [[1], [1], [2]]})
    assert report(Fake(table), today=TODAY).duplicate_rows == 1


def test_a_table_without_rows_and_one_without_values() -> None:
    empty = report(Fake(pa.table({"patient": pa.array([], pa.string()), "x": pa.array([], pa.float64())})), today=TODAY)
    assert (empty.rows, empty.duplicate_rows, empty.columns[1].missing) == (0, 0, 0)
    assert empty.lines()
    table = pa.table({"patient": ["p", "p"], "x": pa.nulls(2), "y": pa.array([None, None], pa.float32())})
    found = report(Fake(table), today=TODAY)
    assert [kinds(c) for c in found.columns[1:]] == [{"empty": 2}] * 2
    assert found.duplicate_rows == 1


def test_columns_come_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the memory it takes is that of some columns, not of all."""
    monkeypatch.setattr(module, "_CELLS", 20)
    fake = Fake(pa.table({"patient": ["p"] * 10, **{f"c{i}": range(10) for i in range(5)}}))
    found = report(fake, today=TODAY)
    assert [column.name for column in found.columns] == ["patient", "c0", "c1", "c2", "c3", "c4"]
    assert max(map(len, fake.asked)) == 2


def test_a_broken_file_is_an_error_and_no_report(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"patient": [f"p{i}" for i in range(1000)], "x": range(1000)}), path, compression="none")
    data = bytearray(path.read_bytes())
    data[4:4000] = b"\xff" * 3996
    path.write_bytes(data)
    with pytest.raises(InputError):
        report(open_kind(tmp_path, Layout("table", "t.parquet", "patient")))


# Numbers


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(25, 2)])
def test_numbers_of_all_types(kind: pa.DataType) -> None:
    column = of("x", pa.array([1, 2, 3, 4, None], pa.int64()).cast(kind))
    assert (column.min, column.max, column.mean, column.missing) == (1, 4, 2.5, pytest.approx(0.2))
    assert column.quantiles[3] in {2, 3}


@given(st.lists(st.floats(width=64), min_size=1))
def test_any_fractions_give_a_report_that_is_json(values: list[float]) -> None:
    """NaN, infinities and numbers near them among them."""
    column = of("age", values, pa.float64())
    assert ColumnQuality.model_validate_json(column.model_dump_json()) == column
    finite = [v for v in values if np.isfinite(v)]
    if finite:
        assert (column.min, column.max) == (min(finite), max(finite))
        assert list(column.quantiles) == sorted(column.quantiles)
    assert column.missing == pytest.approx(sum(v != v for v in values) / len(values))
    assert kinds(column).get("not-finite", 0) == sum(np.isinf(v) for v in values)


def test_truth_values_have_a_share() -> None:
    column = of("x", [True, False, False, None])
    assert (column.mean, column.min, column.distinct) == (pytest.approx(1 / 3), None, 2)


def test_whole_numbers_stored_as_fractions() -> None:
    assert kinds(of("x", [1.0, 2.0, None])) == {"whole-numbers": 2}
    assert kinds(of("x", [1.0, 2.5])) == {}


def test_distinct_values_are_counted_up_to_a_bound() -> None:
    assert of("x", range(MOST_DISTINCT + 5)).distinct == MOST_DISTINCT
    assert of("x", [1, 1, 2]).distinct == 2


def test_dictionaries_are_looked_at_as_what_they_stand_for() -> None:
    column = looked_at("x", pa.chunked_array([pa.array(["a", "b", "a"]).dictionary_encode()]), TODAY)
    assert (column.type, column.distinct) == ("string", 2)


@pytest.mark.parametrize("values", [[[1], [2]], [{"a": 1}], [{"a": 1}, None]])
def test_lists_and_tables_are_not_looked_at(values: list[Any]) -> None:
    column = of("x", values)
    assert column.distinct is None
    assert set(kinds(column)) == {"not-looked-at"}


@pytest.mark.parametrize("name", ["age", "Age_at_diagnosis", "ALTER", "age.years", "pat_age"])
def test_ages_that_nobody_has(name: str) -> None:
    assert kinds(of(name, [-1, 0, 50, 120, 121])) == {"implausible-age": 2}


@pytest.mark.parametrize("name", ["dosage", "stage", "Verwalter", "average"])
def test_what_only_sounds_like_an_age(name: str) -> None:
    assert kinds(of(name, [-1, 500])) == {}


# Dates


def test_dates() -> None:
    days = [date(2024, 6, 2), date(2024, 6, 1), date(1899, 12, 31), date(1900, 1, 1), None]
    column = of("d", days)
    assert (column.type, column.min, column.max) == ("date", "1899-12-31", "2024-06-02")
    assert kinds(column) == {"future": 1, "before-1900": 1}
    assert column.quantiles[0] == "1899-12-31"


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", tz="Europe/Berlin"), pa.date64()]
)
def test_times_of_all_types(kind: pa.DataType) -> None:
    moments = pa.array(
        [datetime(2020, 1, 1, 12, tzinfo=UTC), datetime(2020, 1, 3, 12, tzinfo=UTC), None], pa.timestamp("s")
    ).cast(pa.timestamp("ms"))
    column = looked_at("d", pa.chunked_array([moments.cast(kind, safe=False)]), TODAY)
    assert (column.min, column.max, column.mean) == ("2020-01-01", "2020-01-03", "2020-01-02")


@pytest.mark.parametrize("days", [[-(2**31), 2**31 - 1], [0, 2**31 - 1], [-800_000]])
def test_dates_that_no_calendar_has(days: list[int]) -> None:
    column = looked_at("d", pa.chunked_array([pa.array(days, pa.int32()).cast(pa.date32())]), TODAY)
    assert ColumnQuality.model_validate_json(column.model_dump_json()) == column


# Text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "b"], {}),
        (["1", "2.5", "-3e4", ".5"], {"numbers-as-text": 4}),
        (["1,5", "2", "1.234,5"], {"decimal-commas": 2, "numbers-as-text": 1}),
        (["1,5", "2,5", "neg"], {"decimal-commas": 2, "mixed": 1}),
        (["1", "2", "<5"], {"numbers-as-text": 2, "limits": 1, "mixed": 1}),
        (["1", "2", "unbekannt"], {"numbers-as-text": 2, "placeholders": 1}),
        (["01.02.2020", "1.2.20"], {"german-dates": 2}),
        (["2020-02-01", "2020-02-01 10:00", "2020-02-01T10:00:00Z"], {"dates-as-text": 3}),
        (["01.02.2020", "2020-02-01"], {"german-dates": 1, "dates-as-text": 1, "mixed": 1}),
        (["01.02.2020", "02.02.2020", "im Mai"], {"german-dates": 2, "mixed": 1}),
        ([" a", "b ", "c"], {"blanks": 2}),
        (["n/a", "NA", "", " ", "-", "k.A.", "?", "x"], {"placeholders": 7, "blanks": 1}),
        (["007", "012", "x1"], {"leading-zeros": 2, "numbers-as-text": 2, "mixed": 1}),
        (["0", "0.5"], {"numbers-as-text": 2}),
        (["M\u00c3\u00bcller", "Stra\u00c3\u0178e", "Gr\u00f6\u00dfe"], {"encoding": 2}),
        (["M\ufffdller", "Müller"], {"encoding": 1}),
        (["São Paulo", "Ärztin", "Âme"], {}),
        (["a\nb", "c"], {"line-ends": 1}),
        (["a", "a"], {"constant": 2}),
        (["a", None], {}),
    ],
)
def test_text_that_surprises(values: list[str], expected: dict[str, int]) -> None:
    assert kinds(of("x", values)) == expected
    assert kinds(of("x", values, pa.large_string())) == expected


@given(st.text(alphabet="äöüÄÖÜßéè", min_size=1))
def test_umlauts_read_in_a_wrong_encoding_are_found_and_others_are_not(word: str) -> None:
    wrong = word.encode().decode("cp1252", errors="replace")
    assert "encoding" in kinds(of("x", [wrong, "x"]))
    assert "encoding" not in kinds(of("x", [word, "x"]))


@given(st.lists(st.text(), min_size=1, max_size=20))
def test_any_text_gives_a_report(values: list[str]) -> None:
    column = of("x", values)
    assert ColumnQuality.model_validate_json(column.model_dump_json()) == column
    assert all(0 < finding.count <= len(values) for finding in column.findings)


def test_findings_quote_no_value() -> None:
    """Extremes are numbers and dates; text of patients is nowhere in a report."""
    column = of("x", ["CANARY", " CANARY2", "CANARY\ufffd", "5", "01.01.2020"])
    assert column.findings
    assert "CANARY" not in column.model_dump_json()


# Units


def cohort(median: float, spread: float, count: int, seed: int) -> Any:
    return median * np.exp(np.random.default_rng(seed).normal(0, spread, count))


USUAL = {
    "haemoglobin": (14.0, 0.12),
    "glucose": (100.0, 0.3),
    "creatinine": (0.9, 0.4),
    "cholesterol": (190.0, 0.2),
    "triglycerides": (120.0, 0.5),
    "urea": (32.0, 0.4),
    "urate": (5.5, 0.25),
    "bilirubin": (0.6, 0.5),
    "calcium": (9.4, 0.06),
    "body height": (1.7, 0.06),
    "body weight": (75.0, 0.2),
}


@pytest.mark.parametrize("analyte", ANALYTES, ids=lambda a: a.name)
@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_two_units_are_found(analyte: Any, share: float) -> None:
    if analyte.name in {"body weight", "haemoglobin"} and share != 0.5:
        share = min(max(share, 0.1), 0.9)
    values = cohort(*USUAL[analyte.name], 2000, seed=1)
    second = np.random.default_rng(2).random(2000) < share
    values[second] *= analyte.factor
    found = two_units(analyte.words[0], values)
    assert found is not None
    assert found.second == pytest.approx(second.sum(), abs=60)  # where the groups overlap nobody can tell
    assert found.first + found.second == 2000


@pytest.mark.parametrize("analyte", ANALYTES, ids=lambda a: a.name)
@pytest.mark.parametrize("unit", [0, 1])
def test_one_unit_is_not_taken_for_two(analyte: Any, unit: int) -> None:
    """Of ten cohorts of either unit."""
    factor = analyte.factor if unit else 1.0
    for seed in range(10):
        assert two_units(analyte.words[0], factor * cohort(*USUAL[analyte.name], 2000, seed)) is None


def test_units_are_said_in_words() -> None:
    values = np.concatenate([cohort(14, 0.05, 100, 1), cohort(14 * 0.6206, 0.05, 50, 2)])
    (finding,) = of("Hb", values).findings
    assert finding.text == "Two units of haemoglobin, it seems: 100 values in g/dL, 50 in mmol/L."


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("hb", "haemoglobin"),
        ("Hb_g_dl", "haemoglobin"),
        ("labHb", "haemoglobin"),
        ("Hämoglobin", "haemoglobin"),
        ("haemoglobin_preop", "haemoglobin"),
        ("loinc_718-7", "haemoglobin"),
        ("Kreatinin (Serum)", "creatinine"),
        ("glukose.nüchtern", "glucose"),
        ("14749-6", "glucose"),
        ("hba1c", None),
        ("carcinoma", None),
        ("hbsag", None),
        ("1718-7", None),
        ("718-71", None),
        ("x", None),
    ],
)
def test_names_of_what_is_measured(column: str, name: str | None) -> None:
    found = analyte_of(column)
    assert (found.name if found else None) == name


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_units_of_anything(values: list[float]) -> None:
    found = two_units("hb", np.array(values, np.float64))
    assert found is None or found.first + found.second <= len(values)
