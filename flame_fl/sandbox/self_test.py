"""Proves the isolation of an engine's containers from inside one: it is started like any sandbox, and looks around."""

import json
from typing import Any

import docker
import docker.errors

from flame_fl.contract.errors import SandboxError
from flame_fl.contract.terms import Resources
from flame_fl.sandbox.container import Runtime, hardened_options

_LOOK = r"""
import json, os, socket
def tried(call):
    try:
        call()
    except OSError as err:
        return "refused"
    return "ALLOWED"
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
found = {
    "user": os.getuid(),
    "group": os.getgid(),
    "capabilities": int(status["CapEff"], 16) | int(status.get("CapPrm", "0"), 16),
    "write to /": tried(lambda: open("/x", "w")),
    "write to /etc": tried(lambda: open("/etc/x", "w")),
    "write to /tmp": tried(lambda: open("/tmp/x", "w").write("1")),
    "engine socket": os.path.exists("/var/run/docker.sock"),
    "internet socket": tried(lambda: socket.create_connection(("192.0.2.1", 9), 2)),
    "name resolution": tried(lambda: socket.getaddrinfo("example.org", 80)),
    "other processes": sum(p.isdigit() for p in os.listdir("/proc")) > 4,
}
for name in ("NoNewPrivs", "Seccomp"):
    found[name] = int(status.get(name, -1))
if os.path.isdir("/sys/class/net"):
    found["interfaces"] = sorted(os.listdir("/sys/class/net"))
print(json.dumps(found))
"""
_EXPECTED: dict[str, Any] = {
    "user": 65534,
    "group": 65534,
    "capabilities": 0,
    "write to /": "refused",
    "write to /etc": "refused",
    "write to /tmp": "ALLOWED",
    "engine socket": False,
    "internet socket": "refused",
    "name resolution": "refused",
    "other processes": False,
}
_EXPECTED_OF_RUNC = {"NoNewPrivs": 1, "Seccomp": 2, "interfaces": ["lo"]}  # gVisor's kernel does not show them
_SECONDS = 60


def expected(runtime: Runtime) -> dict[str, Any]:
    """What a container must find, by the name of each property."""
    return _EXPECTED | (_EXPECTED_OF_RUNC if runtime == "runc" else {})


def run_self_test(
    client: docker.DockerClient, image: str, resources: Resources, *, owner: str, runtime: Runtime
) -> dict[str, Any]:
    """Start a container and return what it found, to be compared with `expected`.

    Raises:
        SandboxError: It did not run, or said nothing that can be read.
    """
    options = hardened_options(image, ["-c", _LOOK], resources, role="self-test", owner=owner, runtime=runtime)
    container = client.containers.create(**options | {"log_config": None})
    try:
        container.start()
        code = container.wait(timeout=_SECONDS)["StatusCode"]
        said = container.logs(stdout=True, stderr=False)
        if code != 0:
            raise SandboxError(f"The self-test container ended with exit code {code}.")
        found: dict[str, Any] = json.loads(said)
    except (ValueError, OSError, docker.errors.DockerException) as err:
        raise SandboxError(f"The self-test container did not run ({type(err).__name__}).") from err
    finally:
        container.remove(force=True)
    return found
