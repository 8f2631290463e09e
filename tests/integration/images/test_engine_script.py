"""tests/support/engine.sh with a `docker`, a `dockerd` and an `apt-get` that only write down how they were called."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

SCRIPT = ROOT / "tests/support/engine.sh"
# the engine answers once dockerd was started, or from the beginning if the test says so
DOCKER = """
case "$1 $2" in
  "version --format") [ -e "$STUBS/up" ] ;;
  "info --format") [ -z "$NO_RUNSC" ] && echo "runc runsc " || echo "runc " ;;
  "image inspect") [ -e "$STUBS/base" ] ;;
  "import --change") cat >/dev/null; touch "$STUBS/base" ;;
  *) exit 97 ;;
esac
"""
STUBS = {
    "docker": DOCKER,
    "dockerd": 'touch "$STUBS/up"',
    "apt-get": 'case "$*" in *"$APT_FAILS"*) [ -z "$APT_FAILS" ] ;; esac',
    "dpkg-query": 'case "$INSTALLED" in *" ${@: -1} "*) echo "install ok installed" ;; *) exit 1 ;; esac',
    "mmdebstrap": 'echo rootfs',
    "pgrep": '[ -n "$ELSEWHERE" ]',
    "runsc": "exit 0",
    "sleep": "/bin/sleep 0.01",
    "awk": "echo mirror://of.this.machine/debian",
}  # fmt: skip


class Machine:
    """A folder of stubs, first in PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        self.calls.touch()
        for name, body in STUBS.items():
            stub = folder / name
            note = "" if name in {"awk", "sleep"} else f'echo "{name} $*" >>"$STUBS/calls"\n'
            stub.write_text(f"#!/bin/bash\n{note}{body}\n")
            stub.chmod(0o755)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        fixed = {
            "STUBS": str(self.folder), "PATH": f"{self.folder}:/usr/bin:/bin", "INSTALLED": "", "APT_FAILS": "",
            "NO_RUNSC": "", "ELSEWHERE": "", "FLAME_ENGINE_SOCKET": str(self.folder / "docker.sock"),
            "FLAME_ENGINE_CONFIG": str(self.folder / "etc/daemon.json"), "FLAME_ENGINE_LOG": str(self.folder / "log"),
        }  # fmt: skip
        kept = {k: v for k, v in os.environ.items() if k != "DOCKER_HOST"}
        return subprocess.run(
            ["bash", str(SCRIPT)],
            env={**kept, **fixed, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def called(self, start: str) -> list[str]:
        """Calls that begin so."""
        return [line for line in self.calls.read_text().splitlines() if line.startswith(start)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A bare machine, unless the test makes it another."""
    return Machine(tmp_path)


def test_a_running_engine_is_used_and_nothing_installed(machine: Machine) -> None:
    (machine.folder / "up").touch()
    (machine.folder / "base").touch()
    done = machine.run(ELSEWHERE="1")
    assert (done.returncode, done.stdout) == (0, f"unix://{machine.folder}/docker.sock\n")
    assert machine.called("dockerd") == machine.called("apt-get") == machine.called("mmdebstrap") == []


def test_a_bare_machine_gets_all_of_it(machine: Machine) -> None:
    done = machine.run()
    assert (done.returncode, done.stdout) == (0, f"unix://{machine.folder}/docker.sock\n"), done.stderr
    installed = " ".join(machine.called("apt-get install"))
    assert all(name in installed for name in ("docker.io", "runsc", "mmdebstrap"))
    assert len(machine.called("dockerd")) == 1
    assert '"runtimeArgs":["--network=none"]' in (machine.folder / "etc/daemon.json").read_text()
    assert machine.called("docker import") == ['docker import --change CMD ["python3"] - python:3.11-slim']
    assert machine.called("mmdebstrap")[0].endswith("bookworm - mirror://of.this.machine/debian")


def test_what_is_installed_is_left_alone(machine: Machine) -> None:
    done = machine.run(INSTALLED=" docker.io runsc procps mmdebstrap ")
    assert done.returncode == 0
    assert machine.called("apt-get") == []


def test_a_second_engine_is_not_started(machine: Machine) -> None:
    done = machine.run(ELSEWHERE="1")
    assert done.returncode == 1
    assert "not starting a second" in done.stderr
    assert machine.called("dockerd") == machine.called("apt-get") == []


def test_the_administrators_configuration_is_kept(machine: Machine) -> None:
    config = machine.folder / "etc/daemon.json"
    config.parent.mkdir()
    config.write_text('{"debug": true}')
    assert machine.run().returncode == 0
    assert config.read_text() == '{"debug": true}'


def test_without_gvisor_it_says_so_and_goes_on(machine: Machine) -> None:
    (machine.folder / "runsc").unlink()
    done = machine.run(APT_FAILS="runsc", NO_RUNSC="1", PATH=f"{machine.folder}:/bin:/usr/bin")
    assert done.returncode == 0
    assert "gVisor" in done.stderr


def test_an_engine_that_does_not_get_ready_is_an_error(machine: Machine) -> None:
    (machine.folder / "dockerd").write_text("#!/bin/bash\necho no cgroups here\n")
    done = machine.run()
    assert done.returncode == 1
    assert "no cgroups here" in done.stderr
    assert done.stdout == ""
