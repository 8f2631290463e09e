"""Tests of variants on disk: what was appended comes back, interrupted runs go on, memory does not grow."""

import math
import tracemalloc

import numpy as np
import pytest
from flame_strategies.genomic_control import inflation
from gwas import output_tables
from gwas.quality_rules import Quality, samples_of
from gwas.results import COLUMNS, FEW_MISSING, OK, RARE, Associations, group, p_text, text
from gwas.summary_statistics import Written
from hypothesis import given
from hypothesis import strategies as st

from tests.use_cases.gwas.scans import columns_of, genome, scan, whole


def test_what_was_appended_comes_back(tmp_path):
    panel = genome(2500)
    z = np.random.default_rng(0).normal(size=2500)

    found = scan(tmp_path, panel, z, rare=0.1)

    table = whole(found)
    assert {name: str(column.dtype) for name, column in table.items()} == dict(COLUMNS)
    assert table["index"].tolist() == list(range(2500))
    ok = table["status"] == OK
    np.testing.assert_array_equal(table["stat"][ok], z[ok])
    assert np.isnan(table["p"][~ok]).all()
    assert 0 < (~ok).sum() < 500
    tested = np.concatenate([part["stat"] for part in found.tested(("stat",))])
    np.testing.assert_array_equal(tested, z[ok])
    assert found.tally[OK] == ok.sum()
    assert found.tally[RARE] == (~ok).sum()


def test_the_report_says_how_many_variants_have_no_result_and_why(tmp_path, settings):
    panel, found = genome(100), Associations.begin(tmp_path / "a", {})
    status = np.repeat([OK, FEW_MISSING, RARE], [3, 90, 7])
    found.append(0, {**columns_of(np.arange(100), np.ones(100)), "status": status})
    of = inflation(lambda: (part["log10p"] for part in found.tested(("log10p",))))

    note = output_tables.notes_of(settings(missing="exclude"), Written(3, 0, math.nan, ""), of, found)[3]
    tested = next(line for line in output_tables.headline(of, math.nan, [], found, panel) if "tested" in line["label"])

    assert note.startswith("97 of 100 variants that passed the quality control have no result")
    assert "so few calls are missing that their sums stay hidden (90); rare or absent" in note
    assert tested["value"] == "3"
    assert "97 of 100 that passed" in tested["note"]


def test_counts_that_stay_hidden_are_not_said_to_be_none(tmp_path, settings):
    found = Associations.begin(tmp_path / "a", {})
    found.append(0, columns_of(np.arange(1), np.ones(1)))
    sex = np.array([[0, 0, 0], [0, 50, 0], [12, 0, 40]])
    empty, no = np.zeros(1, dtype=np.int8), np.full(1, np.nan)
    counts = samples_of(np.array([102, 30, 0, 11, 0]))
    quality = Quality(empty, no, no, no, empty, empty, np.zeros(8, dtype=np.int64), counts, sex)

    tables = {
        table["title"]: table
        for table in output_tables.quality_tables(quality, found, settings(analysis="score", min_carriers=10))
    }

    rows = dict(tables["Quality control: samples"]["rows"])
    assert rows["analysed"] == "102"
    assert rows["held out to test the score"] == "30"
    assert rows["covariate missing"] == rows["too many genotypes missing"] == "fewer than 10"
    few = "fewer than 10"
    assert [row[1:] for row in tables["Sex check"]["rows"]] == [[few] * 3, [few, "50", few], ["12", few, "40"]]
    assert "do not add up" in tables["Sex check"]["caption"]


def test_a_run_goes_on_where_it_was_interrupted(tmp_path):
    stamp = {"panel": "made", "nodes": [1, 2, 3]}
    first = Associations.begin(tmp_path / "a", stamp)
    first.append(1000, columns_of(np.arange(1000, 1010), np.ones(10)))
    first.append(0, columns_of(np.arange(10), np.ones(10)))

    again = Associations.begin(tmp_path / "a", {"nodes": [1, 2, 3], "panel": "made"})

    assert again.done == {0, 1000}
    assert [part["index"][0] for part in again.parts(("index",))] == [0, 1000]
    again.append(0, columns_of(np.arange(10), np.zeros(10)))  # the same chunk again takes its place
    assert next(again.parts())["stat"].tolist() == [0.0] * 10


def test_results_of_another_question_are_not_gone_on_with(tmp_path):
    Associations.begin(tmp_path / "a", {"nodes": [1, 2]}).append(0, columns_of(np.arange(3), np.ones(3)))

    again = Associations.begin(tmp_path / "a", {"nodes": [1, 2, 3]})

    assert not again.done
    assert list(again.parts()) == []


def test_a_chunk_is_whole_or_refused(tmp_path):
    found = Associations.begin(tmp_path / "a", {})
    good = columns_of(np.arange(5), np.ones(5))

    with pytest.raises(ValueError, match="these columns"):
        found.append(0, {name: column for name, column in good.items() if name != "se"})
    with pytest.raises(ValueError, match="one length"):
        found.append(0, {**good, "se": np.ones(4)})
    with pytest.raises(ValueError, match="increase"):
        found.append(1, good)
    with pytest.raises(ValueError, match="increase"):
        found.append(0, {**good, "index": np.array([0, 2, 2, 3, 4])})
    with pytest.raises(ValueError, match="not empty"):
        found.append(0, columns_of(np.arange(0), np.ones(0)))
    assert not found.done
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["associations.json"]


def test_reading_needs_no_more_memory_for_more_variants(tmp_path):
    def peak(folder, chunks):
        found = Associations.begin(tmp_path / folder, {})
        for chunk in range(chunks):
            found.append(chunk * 2000, columns_of(np.arange(2000) + chunk * 2000, np.ones(2000)))
        tracemalloc.start()
        for part in found.tested():
            del part
        largest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return largest

    peak("warm", 1)
    assert peak("many", 30) < 1.5 * peak("few", 3)


@given(st.floats(0, 400))
def test_p_values_are_told_even_where_floating_point_ends(log10p):
    said = p_text(log10p)
    lead, _, power = said.partition("e")
    assert math.log10(float(lead)) + float(power or 0) == pytest.approx(-log10p, abs=0.005)
    assert 0 < float(lead) < 10


def test_numbers_for_people():
    assert [text(math.nan), text(3.0), text(0.12345)] == ["–", "3", "0.1235"]
    assert [p_text(math.nan), p_text(math.inf)] == ["–", "–"]
    assert group(["a", "b"], [1, math.inf]) == {"a": 1.0, "b": math.inf}
