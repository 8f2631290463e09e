"""`node.toml`: every setting is named in it, and nothing else is accepted."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from flame_fl.contract.errors import InputError
from flame_fl.contract.places import Places
from flame_fl.contract.terms import Resources
from flame_fl.node.config import (
    HubSection,
    LimitsSection,
    NodeFiles,
    NodeSection,
    SandboxSection,
    SuperNodeSection,
    config_text,
    load_config,
    parse_config,
)

IMAGE = "sha256:" + "0" * 64
TEXT = config_text(node_id="0" * 12, name="DIZ-1", hub="hub.example.org:8000", port=9094, image=IMAGE)


@pytest.mark.parametrize(
    ("section", "model"),
    [
        ("node", NodeSection),
        ("hub", HubSection),
        ("supernode", SuperNodeSection),
        ("sandbox", SandboxSection),
        ("limits", LimitsSection),
    ],
)
def test_the_template_names_every_setting(section: str, model: type[BaseModel]) -> None:
    """An administrator sees all there is, with a comment on each line that is not self-evident, and the defaults."""
    written = tomllib.loads(TEXT)[section]
    assert list(written) == list(model.model_fields)
    defaults = {n: f.default for n, f in model.model_fields.items() if not f.is_required()}
    assert {n: written[n] for n in defaults} == defaults


def test_every_limit_reaches_the_gate() -> None:
    """Each number in [limits] that bounds runs or sandboxes arrives where the gate looks, under its own name."""
    text = TEXT
    numbers = {
        "epsilon_cap": 3.5, "delta": 2e-6, "min_patients": 17, "max_sessions": 3, "cpus": 1.5,
        "memory_bytes": 123456789, "pids": 99, "seconds": 77.0, "scratch_bytes": 2345678, "gpus": 4,
    }  # fmt: skip
    for name, value in numbers.items():
        text, changed = re.subn(rf"^{name} = \S+", f"{name} = {value}", text, flags=re.MULTILINE)
        assert changed == 1, name
    limits = parse_config(text).limits.for_gate()
    assert limits.most == Resources(
        cpus=1.5, memory_bytes=123456789, pids=99, seconds=77.0, scratch_bytes=2345678, gpus=4
    )
    assert (limits.epsilon_cap, limits.delta, limits.min_patients, limits.max_sessions) == (3.5, 2e-6, 17, 3)
    assert set(Resources.model_fields) <= set(LimitsSection.model_fields)


@pytest.mark.parametrize("section", ["node", "hub", "supernode", "sandbox", "limits"])
def test_an_unknown_setting_is_named(section: str) -> None:
    """A misspelt limit is an error, not a missing limit."""
    text = TEXT.replace(f"[{section}]", f"[{section}]\nmisspelt = 1\n", 1)
    with pytest.raises(InputError, match=rf"node\.toml: {section}\.misspelt"):
        parse_config(text)


def test_an_unknown_section_is_named() -> None:
    with pytest.raises(InputError, match=r"limit is no setting; did you mean limits\?"):
        parse_config(TEXT + "\n[limit]\ncpus = 1\n")


@pytest.mark.parametrize(
    ("setting", "old", "new"),
    [
        ("node.id", f'id = "{"0" * 12}"', 'id = "x"'),
        ("hub.address", '"hub.example.org:8000"', '"hub.example.org"'),
        ("supernode.port", "port = 9094", "port = 0"),
        ("sandbox.kind", 'kind = "docker"', 'kind = "in-process"'),
        ("sandbox.runtime", 'runtime = "runc"', 'runtime = "kata"'),
        ("images.default", IMAGE, "flame-sandbox:latest"),
        ("limits.epsilon_cap", "epsilon_cap = 10.0", "epsilon_cap = 0"),
        ("limits.delta", "delta = 1e-5", "delta = 1.0"),
        ("limits.min_patients", "min_patients = 10", "min_patients = 0"),
        ("limits.max_sessions", "max_sessions = 2", "max_sessions = 0"),
        ("limits.session_idle_seconds", "session_idle_seconds = 900", "session_idle_seconds = 0"),
        ("limits.keep_replies_days", "keep_replies_days = 30", "keep_replies_days = 0"),
        ("limits.max_message_bytes", "max_message_bytes = 1073741824", "max_message_bytes = 1"),
        ("limits.cpus", "cpus = 2.0", 'cpus = "many"'),
        ("limits.memory_bytes", "memory_bytes = 8589934592", "memory_bytes = 1"),
        ("limits.pids", "pids = 512", "pids = -1"),
        ("limits.seconds", "seconds = 3600.0", "seconds = 0"),
        ("limits.scratch_bytes", "scratch_bytes = 2147483648", "scratch_bytes = 0"),
        ("limits.gpus", "gpus = 0", "gpus = -1"),
    ],
)
def test_a_value_that_is_none_is_named_and_not_repeated(setting: str, old: str, new: str) -> None:
    """The setting, why, and the mend."""
    assert old in TEXT
    head, _, tail = TEXT.partition(f"[{setting.split('.', maxsplit=1)[0]}]")  # `seconds` also ends other names
    tail = re.sub(rf"(?m)(?<![a-z_]){re.escape(old)}", new, tail, count=1)
    with pytest.raises(InputError, match=re.escape(f"node.toml: {setting} must ")) as err:
        parse_config(f"{head}[{setting.split('.', maxsplit=1)[0]}]{tail}")
    assert err.value.mend


def test_no_config_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no node here") as err:
        load_config(Places(tmp_path / "node.toml", tmp_path))
    assert "flame node init" in err.value.mend


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"= no toml ="])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "node.toml").write_bytes(raw)
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "node.toml"))):
        load_config(Places(tmp_path / "node.toml", tmp_path))


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1:9"), ("::1", "[::1]:9"), ("h", "h:9")])
def test_the_supernodes_address(host: str, address: str) -> None:
    assert SuperNodeSection(host=host, port=9).address == address


def test_every_file_is_in_the_state(tmp_path: Path) -> None:
    """FLAME_HOME moves all of it; the hub's authority may lie elsewhere, by an absolute path."""
    files = NodeFiles(tmp_path)
    config = parse_config(TEXT)
    paths = [files.database, files.flower_key, files.identity_key, files.secret, files.data_key, files.views,
             files.sandboxes, files.logs, files.lock, files.ca(config)]  # fmt: skip
    assert all(path.is_relative_to(tmp_path) for path in paths)
    assert len(set(paths)) == len(paths)
    elsewhere = parse_config(TEXT.replace('ca = "keys/hub-ca.crt"', 'ca = "/etc/ssl/hub.crt"'))
    assert files.ca(elsewhere) == Path("/etc/ssl/hub.crt")
