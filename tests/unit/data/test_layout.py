"""Layouts, and what of a store is wanted."""

from dataclasses import FrozenInstanceError

import pytest

from flame_fl.contract.data_terms import DataStore
from flame_fl.contract.errors import InputError
from flame_fl.data.layout import ALL, Layout, Wanted, layout_of, wanted_of


def stated(**fields: object) -> DataStore:
    return DataStore.model_validate({"table": "t.parquet", "patient_id": "p", "columns": []} | fields)


def test_nothing_is_wanted_by_default() -> None:
    wanted = Wanted()
    assert not wanted.column("age")
    assert (wanted.columns, wanted.features, wanted.modalities) == ((), (), ())


def test_columns_are_wanted_by_name_or_all() -> None:
    assert Wanted(columns=("age",)).column("age")
    assert not Wanted(columns=("age",)).column("Age")
    assert Wanted(columns=ALL).column("anything")


def test_a_star_among_names_is_a_name() -> None:
    """Otherwise somebody who approves a long list would overlook it."""
    assert not Wanted(columns=("age", "*")).column("name")


def test_layouts_do_not_change() -> None:
    layout = Layout("table", "t.csv", "p")
    with pytest.raises(FrozenInstanceError):
        layout.table = "u.csv"  # type: ignore[misc]


def test_the_layout_that_an_analysis_states() -> None:
    terms = stated(kind="plink", record_id="r", files=["x.bed"], table="x.fam")
    assert layout_of(terms) == Layout("plink", "x.fam", "p", "r", ("x.bed",))


def test_features_from_a_file_of_the_bundle() -> None:
    terms = stated(features_file="app/cpgs.txt", kind="table", files=["m.csv"])
    bundle = {"app/cpgs.txt": b"cg1\r\n\n cg2 \ncg1\n"}
    assert wanted_of(terms, bundle).features == ("cg1", "cg2")


@pytest.mark.parametrize("bundle", [{}, {"app/cpgs.txt": b"\xff\xfe"}])
def test_a_list_of_features_that_is_not_there(bundle: dict[str, bytes]) -> None:
    terms = stated(features_file="app/cpgs.txt", kind="table", files=["m.csv"])
    with pytest.raises(InputError, match=r"cpgs\.txt"):
        wanted_of(terms, bundle)
