"""What a container of ours is started with. Pure, so that it can be read, and tested, without an engine.

Nothing here is an option of the analysis: an approval chooses how much a container may use, never what it is kept from.

| kept from | by |
|---|---|
| every network, the host's loopback included | `network_mode="none"` |
| the host's files | read-only root file system, read-only mounts, no device, no engine's socket |
| the kernel | no capability, no-new-privileges, our own seccomp profile, uid 65534, own namespaces |
| the host's memory, processors, processes, disk | memory = memory + swap, cpus, pids, file size, sized tmpfs |
| leaving anything behind | no volume, no log file of the engine's, no restart; `init` reaps what the app left |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from flame_fl.contract.terms import Resources
from flame_fl.sandbox.seccomp import profile

Runtime = Literal["runc", "runsc"]
NOBODY = 65534
SCRATCH = "/tmp"  # noqa: S108  (a tmpfs of the container's own)
ROLE = "fl.flame.role"
OWNER = "fl.flame.owner"
_OPEN_FILES = 4096
_OWN_PIDS: dict[Runtime, int] = {"runc": 1, "runsc": 256}  # the init process; gVisor's own threads count as well
_PRIVATE = "rw,noexec,nosuid,nodev"


@dataclass(frozen=True)
class Bind:
    """A folder of the host's inside the container. Both paths are absolute."""

    source: Path
    target: str
    writable: bool = False


def hardened_options(
    image: str,
    command: Sequence[str],
    resources: Resources,
    *,
    role: str,
    owner: str,
    binds: Sequence[Bind] = (),
    environment: Mapping[str, str] | None = None,
    runtime: Runtime = "runc",
    user: int = NOBODY,
    seccomp: str | None = None,
) -> dict[str, Any]:
    """Arguments for docker-py's `containers.create`.

    Args:
        image: By id, `sha256:…`: a tag can be moved to other content.
        command: Arguments of `python3`, for example `("-m", "module")`.
        resources: What it may use.
        role: "sandbox" or "serverapp", as a label.
        owner: Which installation started it, as a label: its orphans are found by it.
        binds: Folders it sees.
        environment: Beside what every container of ours finds.
        runtime: The engine's, by name.
        user: User and group inside.
        seccomp: Our profile as the engine wants it, if not as JSON.

    Raises:
        ValueError: `image` is no id.
    """
    if not is_image_id(image):
        raise ValueError("an image is named by its id, sha256 and 64 hexadecimal digits")
    scratch = f"{_PRIVATE},size={resources.scratch_bytes},mode=1777"
    gpus = [DeviceRequest(count=resources.gpus, capabilities=[["gpu"]])] if resources.gpus else None
    return {
        "image": image,
        "entrypoint": ["python3"],
        "command": list(command),
        "labels": {ROLE: role, OWNER: owner},
        "user": f"{user}:{user}",
        "hostname": role,
        "working_dir": SCRATCH,
        "environment": _environment(resources) | dict(environment or {}),
        "stdin_open": True,
        "tty": False,
        "network_mode": "none",
        "ipc_mode": "private",
        "read_only": True,
        "tmpfs": {SCRATCH: scratch},
        "shm_size": min(resources.scratch_bytes, resources.memory_bytes),
        "mounts": [
            Mount(b.target, str(b.source), type="bind", read_only=not b.writable, propagation="rprivate") for b in binds
        ],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true", f"seccomp={seccomp or profile()}"],
        "mem_limit": resources.memory_bytes,
        "memswap_limit": resources.memory_bytes,
        "nano_cpus": int(resources.cpus * 1e9),
        "pids_limit": resources.pids + _OWN_PIDS[runtime],
        "oom_score_adj": 500,
        "ulimits": [
            Ulimit(name="fsize", soft=resources.scratch_bytes, hard=resources.scratch_bytes),
            Ulimit(name="nofile", soft=_OPEN_FILES, hard=_OPEN_FILES),
            Ulimit(name="core", soft=0, hard=0),
        ],
        "device_requests": gpus,
        "log_config": LogConfig(type="none"),  # what it prints comes to us, with a limit; the engine keeps nothing
        "init": True,
        "runtime": None if runtime == "runc" else runtime,
        "auto_remove": False,  # we look at how it ended, then remove it
    }


def is_image_id(image: str) -> bool:
    """Whether this names content, not a tag."""
    algorithm, _, digits = image.partition(":")
    return algorithm == "sha256" and len(digits) == 64 and set(digits) <= set("0123456789abcdef")


def _environment(resources: Resources) -> dict[str, str]:
    threads = str(max(1, int(resources.cpus)))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return dict.fromkeys(names, threads) | {
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "FLWR_HOME": f"{SCRATCH}/flwr",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
