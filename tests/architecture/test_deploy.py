"""What lies in deploy/: hardened as it says, true to the code's names and paths, and read by the programs it is for."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer.main
import yaml

from flame_fl.cli.main import cli
from flame_fl.contract.places import hub_places, node_places
from flame_fl.flower.superlink_guard import is_allowed
from flame_fl.hub.config import HubFiles
from flame_fl.node.config import NodeFiles, config_text, parse_config
from tests.architecture.tree import ROOT, short

DEPLOY = ROOT / "deploy"
SANDBOX = ROOT / "flame_fl/node/dockerfiles/sandbox.Dockerfile"
DOCKERFILES = [DEPLOY / "node/Dockerfile", DEPLOY / "hub/Dockerfile", SANDBOX]
UNITS = [DEPLOY / "node/flame-node.service", DEPLOY / "hub/flame-hub.service"]
SCRIPTS = [DEPLOY / "build.sh", DEPLOY / "node/flame", ROOT / "tests/support/engine.sh"]
ENGINE_SOCKET = "/var/run/docker.sock"
COMPOSE: dict[str, Any] = {
    name: yaml.safe_load((DEPLOY / name).read_text())
    for name in ("node/compose.yml", "hub/compose.yml", "hub/compose.proxy.yml")
}
SERVICES = {
    "supernode": COMPOSE["node/compose.yml"]["services"]["supernode"],
    "gate": COMPOSE["node/compose.yml"]["services"]["gate"],
    "hub": COMPOSE["hub/compose.yml"]["services"]["hub"],
    "proxy": COMPOSE["hub/compose.proxy.yml"]["services"]["proxy"],
}
OURS = ["supernode", "gate", "hub"]


def program(name: str) -> str:
    """Where a program is; skips the test if it is not installed, fails it where CI promised it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        (pytest.fail if os.environ.get("FLAME_REQUIRE_ALL") == "1" else pytest.skip)(f"{name} is not installed")
    return str(found)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, rest) with lines joined and comments gone."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [
        (word.upper(), " ".join(rest)) for word, *rest in (line.split() for line in text.splitlines() if line.strip())
    ]


def require_command(words: list[str]) -> None:
    """Fails if `flame WORDS` is no command with these options."""
    command: Any = typer.main.get_command(cli)
    while words and not words[0].startswith("-"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
    assert command.callback is not None


def mounts(service: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Path inside -> (path on the host, read-only?)."""
    found = {}
    for volume in service.get("volumes", []):
        if isinstance(volume, dict):
            found[volume["target"]] = (volume["source"], volume["read_only"])
        else:
            source, target, *mode = volume.split(":")
            found[target] = (source, mode == ["ro"])
    return found


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=short)
class TestDockerfiles:
    def test_start_from_the_base_that_is_given(self, dockerfile: Path) -> None:
        found = instructions(dockerfile)
        assert found[0] == ("ARG", "BASE=python:3.11-slim")
        assert {rest.split()[0] for word, rest in found if word == "FROM"} == {"${BASE}"}

    def test_fetch_nothing(self, dockerfile: Path) -> None:
        """No network in a build: no ADD, no download, pip without an index."""
        found = instructions(dockerfile)
        assert not [rest for word, rest in found if word == "ADD"]
        for run in (rest for word, rest in found if word == "RUN"):
            assert not re.search(r"\b(apt|apt-get|apk|curl|wget|git)\b|https?://", run)
            assert ("install" in run) <= ("--no-index" in run and "--no-deps" in run)

    def test_check_what_they_install(self, dockerfile: Path) -> None:
        for run in (rest for word, rest in instructions(dockerfile) if word == "RUN" and "install" in rest):
            assert "--require-hashes" in run or re.match(r"cd /\w+ && sha256sum --check --quiet --strict", run)

    def test_leave_the_wheels_behind(self, dockerfile: Path) -> None:
        """The last stage copies from the others and from nowhere else."""
        found = instructions(dockerfile)
        last = max(i for i, (word, _) in enumerate(found) if word == "FROM")
        copies = [rest for word, rest in found[last:] if word == "COPY"]
        assert copies
        assert all(rest.startswith("--from=") for rest in copies)

    def test_run_as_nobody_in_particular(self, dockerfile: Path) -> None:
        users = [rest for word, rest in instructions(dockerfile) if word == "USER"]
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])

    def test_hold_no_secret(self, dockerfile: Path) -> None:
        words = [rest for word, rest in instructions(dockerfile) if word in {"ARG", "ENV"}]
        assert not [rest for rest in words if re.search(r"TOKEN|SECRET|PASSWORD|_KEY\b", rest, re.IGNORECASE)]

    def test_start_something_that_is_there(self, dockerfile: Path) -> None:
        found = dict(instructions(dockerfile))
        entry, command = yaml.safe_load(found["ENTRYPOINT"]), yaml.safe_load(found["CMD"])
        if dockerfile == SANDBOX:
            assert (ROOT / f"{command[0].replace('.', '/')}.py").is_file()
            assert entry == ["python3", "-m"]
        else:
            assert entry == ["flame"]
            require_command(command)
            require_command(re.findall(r"CMD flame ([a-z ]+)", found["HEALTHCHECK"])[0].split())


class TestCompose:
    @pytest.mark.parametrize("name", COMPOSE)
    def test_is_of_the_version_that_both_read(self, name: str) -> None:
        assert COMPOSE[name]["version"] == "2.4"

    @pytest.mark.parametrize("name", SERVICES)
    def test_every_service_is_confined(self, name: str) -> None:
        service = SERVICES[name]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert service["restart"] == "unless-stopped"
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert not {"privileged", "devices", "pid", "ipc", "userns_mode"} & service.keys()
        assert service.get("network_mode", "") != "host"

    @pytest.mark.parametrize("name", OURS)
    def test_our_services_are_nobodys(self, name: str) -> None:
        service = SERVICES[name]
        assert service["user"] == "10001:10001"
        assert service["init"] is True
        assert "cap_add" not in service
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}

    def test_nothing_connects_to_a_node(self) -> None:
        for name in ("supernode", "gate"):
            assert not {"ports", "expose"} & SERVICES[name].keys()

    def test_who_holds_the_engine_socket(self) -> None:
        holders = [name for name, service in SERVICES.items() if ENGINE_SOCKET in mounts(service)]
        assert holders == ["gate", "hub"]

    def test_who_talks_to_whom(self) -> None:
        assert COMPOSE["node/compose.yml"]["networks"]["gate"] == {"internal": True}
        assert SERVICES["gate"]["networks"] == ["gate"]
        assert set(SERVICES["supernode"]["networks"]) == {"gate", "outside"}

    def test_the_supernode_sees_its_key_and_nothing_else_of_the_state(self) -> None:
        files = NodeFiles(node_places({}).state)
        config = parse_config(config_text(node_id="0" * 12, name="n", hub="h:1", port=9094, image=""))
        wanted = [node_places({}).config, files.flower_key, files.secret, files.ca(config)]
        assert mounts(SERVICES["supernode"]) == {str(path): (str(path), True) for path in wanted}

    @pytest.mark.parametrize("name", ["gate", "hub"])
    def test_the_engine_finds_what_is_mounted(self, name: str) -> None:
        """It resolves paths on the host: they are the same inside."""
        found = mounts(SERVICES[name])
        places = (node_places if name == "gate" else hub_places)({})
        assert found[str(places.state)] == (str(places.state), False)
        assert found[str(places.config.parent)] == (str(places.config.parent), True)
        assert all(re.sub(r":\?.*(?=\})", "", source) == target for target, (source, _) in found.items())

    def test_data_are_read_only(self) -> None:
        (source, read_only) = mounts(SERVICES["gate"])["${FLAME_DATA}"]
        assert source.startswith("${FLAME_DATA:?")
        assert read_only

    @pytest.mark.parametrize("name", ["supernode", "gate"])
    def test_commands_exist(self, name: str) -> None:
        require_command(SERVICES[name]["command"])
        assert SERVICES[name]["command"] == ["node", "up", "--only", name]

    def test_the_proxy_is_given_the_certificate_and_no_other_secret(self) -> None:
        files = HubFiles(hub_places({}).state)
        state = {path for path in mounts(SERVICES["proxy"]) if path.startswith(str(files.state))}
        assert state == {str(files.ca), str(files.certificate), str(files.key)}
        assert all(read_only for _, read_only in mounts(SERVICES["proxy"]).values())

    @pytest.mark.parametrize(
        "names", [["node/compose.yml"], ["hub/compose.yml"], ["hub/compose.yml", "hub/compose.proxy.yml"]]
    )
    def test_docker_compose_reads_it(self, names: list[str], tmp_path: Path) -> None:
        compose = program("docker-compose")
        (tmp_path / "env").write_text("DOCKER_GID=999\nFLAME_DATA=/srv/data\n")
        files = [word for name in names for word in ("-f", str(DEPLOY / name))]
        command = [compose, "--env-file", str(tmp_path / "env"), *files, "config"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        read = yaml.safe_load(done.stdout)["services"]
        assert set(read) == {name for n in names for name in COMPOSE[n]["services"]}

    def test_docker_compose_says_what_is_not_set(self, tmp_path: Path) -> None:
        (tmp_path / "env").touch()
        command = [
            program("docker-compose"),
            "--env-file",
            str(tmp_path / "env"),
            "-f",
            str(DEPLOY / "node/compose.yml"),
            "config",
        ]
        kept = {k: v for k, v in os.environ.items() if k not in {"DOCKER_GID", "FLAME_DATA"}}
        done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        assert "in .env" in done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=short)
class TestUnits:
    @pytest.fixture
    def read(self, unit: Path) -> configparser.ConfigParser:
        """Its sections; of keys given twice, the last."""
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(unit.read_text())
        return parser

    def test_starts_a_command_that_is_there(self, unit: Path, read: configparser.ConfigParser) -> None:
        program_, *words = read["Service"]["ExecStart"].split()
        assert program_ == "/opt/flame/bin/flame"
        require_command(words)

    def test_uses_the_folders_of_the_code(self, unit: Path, read: configparser.ConfigParser) -> None:
        places = node_places({})
        assert f"/var/lib/{read['Service']['StateDirectory']}" == str(places.state)
        assert f"/etc/{read['Service']['ConfigurationDirectory']}" == str(places.config.parent)

    def test_systemd_accepts_it(self, unit: Path, tmp_path: Path) -> None:
        """Every setting known, and a low exposure by systemd's own measure. It was not started by a systemd here."""
        analyze = program("systemd-analyze")
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text().replace("/opt/flame/bin/flame", "/bin/true"))
        verify = [analyze, "verify", "--man=no", str(copy)]
        done = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])
        security = [analyze, "security", "--offline=true", "--threshold=25", "--no-pager", str(copy)]
        done = subprocess.run(security, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout[-300:]


class TestProxy:
    TEXT = re.sub(r"^\s*#.*\n", "", (DEPLOY / "hub/nginx.conf").read_text(), flags=re.MULTILINE)
    SERVERS: ClassVar[dict[str, list[str]]] = {
        re.findall(r"listen (\d+)", block)[0]: re.findall(r"location (?:= )?(\S+) \{\s*proxy_pass", block)
        for block in re.findall(r"^server \{.*?^\}", TEXT, re.MULTILINE | re.DOTALL)
    }

    def test_who_reaches_what(self) -> None:
        assert self.SERVERS == {
            "443": ["/v1/fleet/", "/health"],
            "8443": ["/v1/control/", "/v1/flame/", "/health"],
        }

    def test_nobody_reaches_the_runtime(self) -> None:
        """The hub's own agent does, at the hub itself."""
        assert is_allowed("POST", "/v1/runtime/acquire-task")
        assert "runtime" not in self.TEXT

    def test_it_verifies_the_hub(self) -> None:
        assert "proxy_ssl_verify on;" in self.TEXT
        files = HubFiles(hub_places({}).state)
        assert {str(files.ca), str(files.certificate), str(files.key)} <= set(re.findall(r"(/var/\S+);", self.TEXT))


@pytest.mark.parametrize("script", SCRIPTS, ids=short)
def test_scripts_are_shell_and_executable(script: Path) -> None:
    shell = script.read_text().splitlines()[0].rpartition("/")[2].rpartition(" ")[2]
    assert subprocess.run([shell, "-n", str(script)], check=False).returncode == 0
    assert os.access(script, os.X_OK)


def test_the_service_name_is_a_host() -> None:
    """`host = "runtime"` in node.toml is what compose calls the SuperNode on the gate's network."""
    assert SERVICES["supernode"]["networks"]["gate"] == {"aliases": ["runtime"]}
    text = config_text(node_id="0" * 12, name="n", hub="h:1", port=9094, image="")
    config = parse_config(text.replace('host = "127.0.0.1"', 'host = "runtime"', 1))
    assert f"http://{config.supernode.address}/health" in SERVICES["supernode"]["healthcheck"]["test"][-1]
