"""Attacks with a bundle's bytes. Each is refused by `read_fab`, and 901 at the gate; none costs memory or a crash."""

import io
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from flame_fl.contract import fab as fab_module
from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import read_fab
from flame_fl.contract.refusal import RefusalCode
from tests.support.gates import World, make_fab, terms_table, zip_of


def refused(raw: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read_fab(raw)
    return str(caught.value)


def entry(name: str = "a.py", data: bytes = b"x" * 100, **changes: int) -> bytes:
    """A zip of one entry whose ZipInfo has been changed."""
    out = io.BytesIO()
    info = zipfile.ZipInfo(name)
    with zipfile.ZipFile(out, "w") as bundle:
        bundle.writestr(info, data, changes.pop("compress_type", zipfile.ZIP_DEFLATED))
        for key, value in changes.items():
            setattr(bundle.filelist[0], key, value)
    return out.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        "..",
        ".",
        "./x",
        "a//b",
        "a/./b",
        "a\\b",
        "C:\\x",
        "a\nb",
        "a\x1b[2Jb",
        "a\u202eyp.exe",
        "a/",
    ],
)
def test_a_path_that_leaves_the_bundle_or_is_not_plain(name: str) -> None:
    refused(zip_of([(name, b"x")]))


def test_a_path_of_many_folders_costs_no_memory() -> None:
    """Every parent of every path is looked at: a path of 30,000 parts would cost a gigabyte."""
    assert "too long" in refused(zip_of([("0/" + "a/" * 30_000 + "b", b"x")]))


def test_an_empty_path() -> None:
    refused(zip_of([("", b"x")]))


def test_an_offset_beyond_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 64-bit header offset that no file can have."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        bundle.writestr("a.py", b"x")
        bundle.filelist[0].header_offset = 1 << 63
    refused(out.getvalue())


def test_a_dotted_key_of_thousands_of_parts_costs_no_memory() -> None:
    """tomllib keeps every prefix of a key: 200 bytes of zip would cost gigabytes."""
    raw = zip_of([("pyproject.toml", b".".join([b"a"] * 30_000) + b" = 1")])
    with pytest.raises(InputError, match="more than 64 dots"):
        _ = read_fab(raw).pyproject


@pytest.mark.parametrize("kind", [0o120000, 0o060000, 0o020000, 0o010000, 0o140000, 0o040000])
def test_a_link_a_device_a_pipe_a_socket_or_a_folder(kind: int) -> None:
    assert "plain file" in refused(entry(external_attr=(kind | 0o777) << 16))


@pytest.mark.parametrize(
    "names",
    [
        ("a.py", "a.py"),
        ("a.py", "A.py"),
        ("stra\u00dfe.py", "STRASSE.py"),
        ("\u00e9.py", "e\u0301.py"),
        ("a", "a/b.py"),
        ("A", "a/b.py"),
        ("a.py\x00x", "a.py\x00y"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_paths_that_are_one_somewhere(names: tuple[str, str]) -> None:
    refused(zip_of([(name, name.encode()) for name in names]))


def test_two_reviewers_cannot_see_two_bundles_in_one() -> None:
    """A second central directory before the real one: the hash is over what this parser unpacks, and only that."""
    one, two = zip_of([("a.py", b"innocent")]), zip_of([("a.py", b"evil")])
    assert dict(read_fab(one + two).files) == {"a.py": b"evil"}
    assert read_fab(one + two).content_sha256 == read_fab(two).content_sha256


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_whose_output_zipfile_does_not_bound(method: int) -> None:
    assert "deflate" in refused(entry(compress_type=method))


def test_an_announced_size_beyond_the_limit() -> None:
    assert "unpacks" in refused(entry(file_size=fab_module.MAX_UNPACKED_BYTES + 1))


def test_a_sum_of_sizes_beyond_the_limit() -> None:
    part = bytes(fab_module.MAX_UNPACKED_BYTES // 3 + 1)
    assert "unpacks" in refused(zip_of((f"{n}", part) for n in range(3)))


@pytest.mark.parametrize("announced", [0, 1, 99, 101, 5000])
def test_an_announced_size_that_is_not_the_size(announced: int) -> None:
    refused(entry(file_size=announced))


def test_too_many_files() -> None:
    assert "files" in refused(zip_of((f"{n}", b"") for n in range(fab_module.MAX_FILES + 1)))


def test_too_many_bytes() -> None:
    assert "limit" in refused(bytes(fab_module.MAX_FAB_BYTES + 1))


def test_overlapping_entries() -> None:
    """Two names in the directory, one body: the second header does not name the body's file."""
    raw = bytearray(zip_of([("a.py", b"x" * 50), ("b.py", b"y" * 50)]))
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 42 : second + 46] = struct.pack("<I", 0)
    refused(bytes(raw))


@pytest.mark.parametrize("flag", [0x1, 0x41])
def test_an_encrypted_entry(flag: int) -> None:
    refused(entry(flag_bits=flag))


@pytest.mark.parametrize("raw", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"\x00" * 1000])
def test_bytes_that_hold_no_bundle(raw: bytes, world: World) -> None:
    assert world.code(raw) is RefusalCode.NOT_APPROVED


def test_a_bomb_costs_no_memory(tmp_path: Path) -> None:
    """90 MB of zeros announced as one byte, read by a process that may not have them."""
    (tmp_path / "bomb.fab").write_bytes(entry(data=bytes(90_000_000), file_size=1))
    script = (
        "import resource, sys; from flame_fl.contract.fab import read_fab; from pathlib import Path\n"
        "from flame_fl.contract.errors import InputError\n"
        "have = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (have + 60_000_000,) * 2)\n"
        "try: read_fab(Path(sys.argv[1]).read_bytes())\n"
        "except InputError: sys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "bomb.fab")], check=False).returncode == 7


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_fab(config={"x": float("nan")}),
        lambda: make_fab(config={"x": 2**60}),
        lambda: make_fab(config={"x": [1, 2]}),
        lambda: make_fab(config={"rounds": 1, "x": "y" * 1_100_000}),
        lambda: make_fab(terms_table(limits={"runs": 1, "rounds": 7})),
        lambda: make_fab(terms_table(limits={"runs": 0})),
        lambda: make_fab(terms_table(run_config={"no-such-key": {"min": 1, "max": 2}})),
        lambda: zip_of([("pyproject.toml", b"[project]\nname='x'\n[tool.flwr.app]\npublisher='x'\n")]),
    ],
    ids=["nan", "huge", "list", "large", "unknown field", "no runs", "unknown key", "no client"],
)
def test_a_bundle_whose_terms_cannot_be_read_is_refused_and_not_filed(make: Callable[[], bytes], world: World) -> None:
    assert world.code(make()) is RefusalCode.NOT_APPROVED
    assert world.store.approvals() == []


def test_deeply_nested_settings_are_refused_not_a_crash(world: World) -> None:
    deep = b"[tool.flwr.app.config]\n" + b".".join([b"a"] * 3000) + b" = 1\n"
    head = b"[project]\nname='x'\n[tool.flwr.app]\npublisher='x'\ncomponents.clientapp='a:b'\n"
    assert world.code(zip_of([("pyproject.toml", head + deep)])) is RefusalCode.NOT_APPROVED
