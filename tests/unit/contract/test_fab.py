"""What a bundle is: its files, its hash, and the settings read from it."""

import pytest

from flame_fl.contract import fab as fab_module
from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import Fab, read_fab
from tests.support.gates import make_fab, zip_of

FILES = {"pyproject.toml": b"[project]\nname='a'\n", "a/b.py": b"x"}


def test_the_files_come_out_as_they_went_in() -> None:
    assert dict(read_fab(zip_of(FILES.items())).files) == FILES


def test_the_content_hash_is_the_sorted_lines_of_path_and_hash() -> None:
    lines = "".join(f"{path}\0{sha256_hex(data)}\n" for path, data in sorted(FILES.items()))
    assert read_fab(zip_of(FILES.items())).content_sha256 == sha256_hex(lines.encode())


def test_the_content_hash_does_not_depend_on_packing() -> None:
    packed = zip_of(FILES.items()), zip_of(reversed(FILES.items()), compression=0)
    one, other = (read_fab(raw) for raw in packed)
    assert one.sha256 != other.sha256
    assert one.content_sha256 == other.content_sha256


def test_flowers_own_listing_is_neither_believed_nor_passed_on() -> None:
    listed = read_fab(zip_of([*FILES.items(), (".info/CONTENT", b"lies")]))
    assert listed.content_sha256 == read_fab(zip_of(FILES.items())).content_sha256
    assert ".info/CONTENT" not in listed.files


def test_every_other_file_counts_wherever_it_lies() -> None:
    extra = read_fab(zip_of([*FILES.items(), (".info/OTHER", b"")]))
    assert extra.content_sha256 != read_fab(zip_of(FILES.items())).content_sha256


def test_an_app_is_named_by_publisher_and_name() -> None:
    assert read_fab(make_fab(name="x")).app_id == "someone/x"


def test_components_are_read() -> None:
    assert read_fab(make_fab()).component("clientapp") == "app.client:app"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[project]\nname='x'",
        b"[tool.flwr.app]\npublisher='x'",
        b"[project]\nname=['x']\n[tool.flwr.app]\npublisher='x'",
        b"[project]\nname='a/b'\n[tool.flwr.app]\npublisher='x'",
        "[project]\nname='a\u202eb'\n[tool.flwr.app]\npublisher='x'".encode(),
        b"[project]\nname='" + b"a" * 200 + b"'\n[tool.flwr.app]\npublisher='x'",
    ],
)
def test_an_app_without_a_plain_name_is_an_error(text: bytes) -> None:
    with pytest.raises(InputError, match="publisher and name"):
        _ = Fab({"pyproject.toml": text}, "").app_id


@pytest.mark.parametrize("reference", ["", "'module'", "'a:b:c'", "1", "['a:b']"])
def test_an_app_without_a_client_is_an_error(reference: str) -> None:
    text = f"[tool.flwr.app.components]\nclientapp={reference}" if reference else ""
    with pytest.raises(InputError, match="clientapp"):
        Fab({"pyproject.toml": text.encode()}, "").component("clientapp")


@pytest.mark.parametrize(
    "text",
    [
        b"not TOML",
        b"\xff\xfe",
        b"a = " + b"9" * 5000,
        b"a = " + b"[" * 5000,
        b"#" * (fab_module.MAX_PYPROJECT_BYTES + 1),
    ],
    ids=["syntax", "encoding", "endless number", "endless nesting", "size"],
)
def test_a_pyproject_that_cannot_be_read_is_an_error_not_a_crash(text: bytes) -> None:
    with pytest.raises(InputError, match=r"pyproject\.toml"):
        _ = Fab({"pyproject.toml": text}, "").pyproject


def test_a_bundle_without_pyproject_is_an_error() -> None:
    with pytest.raises(InputError, match=r"no pyproject\.toml"):
        _ = read_fab(zip_of([("a.py", b"")])).pyproject
