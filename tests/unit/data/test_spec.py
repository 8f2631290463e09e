"""What a steward registers, read strictly."""

from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from flame_fl.contract.errors import InputError
from flame_fl.data.layout import Layout
from flame_fl.data.sources.fhir import FhirSource
from flame_fl.data.sources.s3 import S3Source
from flame_fl.data.spec import ConsentRule, FolderSource, LayoutSpec, StoreSpec, Window, read_spec

WHOLE = """
shift_dates_days = 30

[layout]
kind = "table"
table = "visits.parquet"
patient_id = "pid"
record_id = "visit"
files = ["labs.csv"]

[source]
type = "folder"
path = "visits"

[cohort]
where = [{ column = "age", op = ">=", value = 18 }]
window = { column = "day", from = 2015-01-01, until = 2024-12-31 }
consent = { column = "broad_consent", granted = ["yes"] }
"""
S3 = """
[layout]
table = "t.parquet"
patient_id = "pid"
[source]
type = "s3"
endpoint = "https://s3.example"
bucket = "a-bucket"
prefix = "visits/"
credentials = "s3.secrets"
"""
FHIR = """
[layout]
table = "person.parquet"
patient_id = "pid"
[source]
type = "fhir"
base_url = "https://fhir.example/r4"
views = ["person", "own.json"]
login = "mtls"
ca = "ca.pem"
credentials = "fhir.secrets"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "store.toml"
    path.write_text(text)
    return path


def wrong(tmp_path: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_spec(written(tmp_path, text))
    assert caught.value.mend
    return caught.value.message


def spec(**changes: object) -> StoreSpec:
    stated = {
        "layout": {"table": "t.csv", "patient_id": "pid"},
        "source": {"type": "folder", "path": "/data"},
    }
    return StoreSpec.model_validate(stated | changes)


def test_all_of_it_is_read(tmp_path: Path) -> None:
    """A relative path is relative to the file, not to where the command runs."""
    found = read_spec(written(tmp_path, WHOLE))
    assert found.layout.layout == Layout("table", "visits.parquet", "pid", "visit", ("labs.csv",))
    assert found.folder == tmp_path / "visits"
    assert found.cohort.window is not None
    assert (found.cohort.window.from_, found.cohort.window.until) == (date(2015, 1, 1), date(2024, 12, 31))
    assert found.cohort.consent == ConsentRule(column="broad_consent", granted=("yes",))
    assert (found.pseudonyms, found.shift_dates_days, found.mock) == (True, 30, False)


def test_what_is_not_said_is_safe() -> None:
    """Pseudonyms, and nobody's data are called made up."""
    assert (spec().pseudonyms, spec().mock, spec().shift_dates_days) == (True, False, 0)


def test_it_is_the_same_after_it_was_stored(tmp_path: Path) -> None:
    """A rule read back from the registry has the hash that approvals name."""
    for text in (WHOLE, S3, FHIR):
        found = read_spec(written(tmp_path, text))
        again = StoreSpec.model_validate_json(found.model_dump_json(by_alias=True))
        assert again == found
        assert again.rule_sha256 == found.rule_sha256


def test_paths_of_every_source_are_anchored(tmp_path: Path) -> None:
    """They stay paths: credentials are looked for beside the file, and a certificate beside the credentials."""
    source = read_spec(written(tmp_path, S3)).source
    assert isinstance(source, S3Source)
    assert source.credentials == tmp_path / "s3.secrets"
    assert isinstance(source.credentials, Path)
    other = read_spec(written(tmp_path, FHIR)).source
    assert isinstance(other, FhirSource)
    assert (other.credentials, other.ca) == (tmp_path / "fhir.secrets", str(tmp_path / "ca.pem"))
    assert isinstance(other.credentials, Path)
    assert other.views == ("person", str(tmp_path / "own.json"))
    assert read_spec(written(tmp_path, FHIR)).folder is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "table"', 'kind = "excel"', "layout.kind"),
        ('patient_id = "pid"', "", "layout.patient_id"),
        ('table = "visits.parquet"', 'table = "../visits.parquet"', "layout.table"),
        ('files = ["labs.csv"]', 'files = ["/etc/passwd"]', "layout.files"),
        ('path = "visits"', "", "source"),
        ('type = "folder"', 'type = "ftp"', "source"),
        ("[cohort]", "[cohrt]", "cohrt"),
        ("shift_dates_days = 30", "shift_dates_days = -1", "shift_dates_days"),
        ("shift_dates_days = 30", "shift_dates_days = 30\npseudonyms = false", "shift_dates_days needs pseudonyms"),
        ('op = ">="', 'op = "~"', "cohort.where.0.op"),
        (", from = 2015-01-01, until = 2024-12-31", "", "cohort.window"),
        ('granted = ["yes"]', "granted = []", "give column and granted, or provisions"),
        ("consent = {", "konsent = {", "cohort.konsent"),
        ("[layout]", "[layout", "no TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    """The file and the setting."""
    assert old in WHOLE
    sentence = wrong(tmp_path, WHOLE.replace(old, new, 1))
    assert said in sentence
    assert str(tmp_path / "store.toml") in sentence


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml cannot be read"):
        read_spec(tmp_path / "none.toml")
    (tmp_path / "store.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_spec(tmp_path / "store.toml")


@pytest.mark.parametrize(
    "stated",
    [{}, {"column": "c"}, {"granted": ("yes",)}, {"column": "c", "granted": ("yes",), "provisions": ("1.2",)},
     {"column": "c", "provisions": ("1.2",)}],
)  # fmt: skip
def test_consent_is_asked_for_in_one_way(stated: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="give column and granted"):
        ConsentRule.model_validate(stated)


def test_a_window_says_something() -> None:
    with pytest.raises(ValidationError, match="from, until or both"):
        Window(column="day")


RULES = {
    "layout": {"table": "t.csv", "patient_id": "other"},
    "cohort": {"where": [{"column": "age", "op": ">", "value": 1}]},
    "pseudonyms": False,
    "shift_dates_days": 3,
}


@pytest.mark.parametrize("name", list(RULES))
def test_what_decides_what_a_view_holds_is_in_the_rules_hash(name: str) -> None:
    assert spec(**{name: RULES[name]}).rule_sha256 != spec().rule_sha256


def test_where_data_lie_is_not_in_the_rules_hash() -> None:
    """The content has its own; data that were moved are the same data."""
    assert spec(source={"type": "folder", "path": "/elsewhere"}).rule_sha256 == spec().rule_sha256
    assert spec(mock=True).rule_sha256 == spec().rule_sha256


def test_a_layout_goes_there_and_back() -> None:
    layout = Layout("vcf", "samples.csv", "pid", "sample", ("g.vcf.gz",))
    assert LayoutSpec.of(layout).layout == layout


def test_a_folder_needs_a_path() -> None:
    with pytest.raises(ValidationError):
        FolderSource(path="")
