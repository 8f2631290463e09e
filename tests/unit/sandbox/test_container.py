"""What every container of ours is started with: read as the engine gets it, no engine needed."""

import json
from pathlib import Path
from typing import Any

import pytest

from flame_fl.contract.terms import Resources
from flame_fl.sandbox.container import Bind, hardened_options, is_image_id

IMAGE = "sha256:" + "0123456789abcdef" * 4
RESOURCES = Resources(cpus=1.5, memory_bytes=300_000_000, pids=40, seconds=10, scratch_bytes=20_000_000)


def options(resources: Resources = RESOURCES, **more: Any) -> dict[str, Any]:
    return hardened_options(IMAGE, ["-m", "module"], resources, role="sandbox", owner="me", **more)


@pytest.mark.parametrize(
    "image",
    ["python:3.11-slim", "latest", "", "sha256:", "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "G" * 64,
     "sha512:" + "0" * 64, "0" * 64, "name@sha256:" + "0" * 64, "sha256:" + "A" * 64],
)  # fmt: skip
def test_an_image_is_named_by_its_id_only(image: str) -> None:
    """A tag can be moved to other content, after the approval."""
    assert not is_image_id(image)
    with pytest.raises(ValueError, match="named by its id"):
        hardened_options(image, [], RESOURCES, role="sandbox", owner="me")


def test_it_is_kept_from_everything() -> None:
    """Each of these is one wall; none of them is an option of an analysis."""
    found = options()
    assert found["network_mode"] == "none"
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["user"] == "65534:65534"
    assert found["ipc_mode"] == "private"
    assert found["tty"] is False
    assert found["init"] is True
    assert found["security_opt"][0] == "no-new-privileges:true"
    assert json.loads(found["security_opt"][1].removeprefix("seccomp="))["defaultAction"] == "SCMP_ACT_ERRNO"
    never = {"privileged", "cap_add", "devices", "pid_mode", "volumes", "ports", "extra_hosts", "userns_mode",
             "volumes_from", "restart_policy", "group_add", "network", "links", "dns"}  # fmt: skip
    assert not never & set(found)


def test_it_may_use_what_the_terms_say() -> None:
    """Memory without swap beside it, processors, processes, file size, scratch."""
    found = options()
    assert found["mem_limit"] == found["memswap_limit"] == 300_000_000
    assert found["nano_cpus"] == 1_500_000_000
    assert found["pids_limit"] == 41  # the init process is ours
    assert "size=20000000" in found["tmpfs"]["/tmp"]
    assert {"noexec", "nosuid", "nodev"} <= set(found["tmpfs"]["/tmp"].split(","))
    limits = {u["Name"]: (u["Soft"], u["Hard"]) for u in found["ulimits"]}
    assert limits["fsize"] == (20_000_000, 20_000_000)
    assert limits["core"] == (0, 0)
    assert limits["nofile"][1] <= 4096
    assert found["shm_size"] <= 20_000_000


@pytest.mark.parametrize(
    "change", [{"cpus": 4.0}, {"memory_bytes": 400_000_000}, {"pids": 50}, {"scratch_bytes": 1 << 25}]
)
def test_every_resource_changes_something(change: dict[str, Any]) -> None:
    """No limit of the terms is decoration."""
    assert options(RESOURCES.model_copy(update=change)) != options()


def test_nothing_is_left_behind() -> None:
    """No log file of the engine's, no volume, and we remove it ourselves after having looked at how it ended."""
    found = options()
    assert found["log_config"]["Type"] == "none"
    assert found["auto_remove"] is False
    assert found["labels"] == {"fl.flame.role": "sandbox", "fl.flame.owner": "me"}


def test_folders_are_read_only_unless_asked_otherwise() -> None:
    """By bind mounts that do not spread."""
    found = options(binds=[Bind(Path("/a"), "/app"), Bind(Path("/b"), "/out", writable=True)])
    shown = [(m["Source"], m["Target"], m["Type"], m["ReadOnly"]) for m in found["mounts"]]
    assert shown == [("/a", "/app", "bind", True), ("/b", "/out", "bind", False)]
    assert {m["BindOptions"]["Propagation"] for m in found["mounts"]} == {"rprivate"}
    assert options()["mounts"] == []


def test_its_environment_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named variables; threads as many as processors; what a caller adds is added."""
    monkeypatch.setenv("A_PASSWORD", "x")
    found = options(environment={"MORE": "1"})["environment"]
    assert "A_PASSWORD" not in found
    assert (found["MORE"], found["OMP_NUM_THREADS"], found["HOME"]) == ("1", "1", "/tmp")
    assert options(RESOURCES.model_copy(update={"cpus": 4.0}))["environment"]["OMP_NUM_THREADS"] == "4"
    assert options(RESOURCES.model_copy(update={"cpus": 0.5}))["environment"]["OMP_NUM_THREADS"] == "1"


def test_a_gpu_is_asked_for_only_if_the_terms_do() -> None:
    """The shape of the request is Docker's; not run on hardware."""
    assert options()["device_requests"] is None
    (request,) = options(RESOURCES.model_copy(update={"gpus": 2}))["device_requests"]
    assert (request["Count"], request["Capabilities"], request["DeviceIDs"]) == (2, [["gpu"]], [])


def test_gvisor_is_asked_for_by_name() -> None:
    """Its own threads count as processes of the container."""
    assert options()["runtime"] is None
    found = options(runtime="runsc")
    assert found["runtime"] == "runsc"
    assert found["pids_limit"] > options()["pids_limit"]


def test_the_command_is_pythons() -> None:
    """Whatever entry point the image states."""
    found = options()
    assert (found["entrypoint"], found["command"], found["image"]) == (["python3"], ["-m", "module"], IMAGE)


def test_the_engine_package_knows_every_option() -> None:
    """docker-py refuses what it does not know when a container is created: better here."""
    from docker.models.containers import _create_container_args

    options_of_docker = options(binds=[Bind(Path("/a"), "/app")], runtime="runsc")
    made = _create_container_args({**options_of_docker, "version": "1.41"})
    host = made["host_config"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["Memory"] == host["MemorySwap"] == 300_000_000
    assert host["PidsLimit"] == 296
    assert host["Runtime"] == "runsc"
