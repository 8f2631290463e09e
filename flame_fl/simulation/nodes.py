"""Virtual nodes: a gate each, wired to a sandbox, a folder of data and a state file of their own."""

import os
import re
import secrets
import sqlite3
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import InputError
from flame_fl.contract.fab import Fab
from flame_fl.contract.manifest import Manifest
from flame_fl.contract.ports import VETTED_APP, NoiseSource, Sandbox, SandboxSpec
from flame_fl.contract.terms import Terms
from flame_fl.data.folder import snapshot_of
from flame_fl.data.layout import wanted_of
from flame_fl.data.offer import FixedOffers, Offer, Offers
from flame_fl.flower.app_host import AppHost, load_host
from flame_fl.gate.store import Store
from flame_fl.gate.workflow import Event, Gate
from flame_fl.sandbox.in_process import InProcessSandbox
from flame_fl.sandbox.subprocess import SubprocessSandbox
from flame_fl.simulation.policy import Policy, identity_file, simulated_key, simulated_trust

SandboxKind = Literal["in-process", "subprocess", "docker"]
_FIRST_NODE_ID = 10_001
# torch's optimisers import the second of these when the first one is made
_SLOW = {"torch": ("torch", "torch._dynamo")}


@dataclass(frozen=True)
class NodePlan:
    """Name and data folder of a virtual node; None if it has no data of its own."""

    name: str
    data: Path | None


def plan_nodes(data: Path | None, count: int | None) -> tuple[NodePlan, ...]:
    """One node per subfolder of `data` (sorted), or `count` nodes without data.

    Raises:
        InputError: No such folder, no subfolders, or not `count` of them.
    """
    if data is None:
        return tuple(NodePlan(f"DIZ-{i}", None) for i in range(1, (count or 3) + 1))
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}.", mend="Prepare the data first, or correct --data.")
    folders = sorted((p for p in data.iterdir() if p.is_dir()), key=lambda p: (len(p.name), p.name))
    if not folders or (count is not None and len(folders) != count):
        raise InputError(
            f"{data} has {len(folders)} node folders" + (f"; --nodes says {count}." if count else "."),
            mend="A data folder holds one subfolder per virtual node, and in it one folder per data store.",
        )
    return tuple(NodePlan(p.name, p) for p in folders)


def open_data(node: NodePlan, manifest: Manifest, bundle: Mapping[str, bytes]) -> FixedOffers:
    """The node's data stores: the subfolders of its data folder, laid out as the terms say.

    Raises:
        InputError: A store that the terms name cannot be read, or has not what they name. `bundle` is the app's files.
    """
    folders = [] if node.data is None else [p for p in sorted(node.data.iterdir()) if p.is_dir()]
    offers = {p.name: Offer(p.name, p.resolve(), snapshot_of(p)) for p in folders}
    for name, stated in (manifest.terms.data if manifest.terms else {}).items():
        if name in offers:
            offers[name].require(stated, wanted_of(stated, bundle))
            offers[name].cohort(stated, datetime.now(UTC).date())
    return FixedOffers(offers)


def patients_of(offers: Offers, terms: Terms | None) -> int:
    """How many patients the node's largest store has for an analysis; 0 where nobody says how to count."""
    today, counts = datetime.now(UTC).date(), [0]
    for name, stated in (terms.data if terms else {}).items():
        if (offer := offers.get(name)) is not None:
            counts.append(offer.cohort(stated, today).patients)
    return max(counts)


def make_sandbox(kind: SandboxKind, app_dir: Path, fab: Fab | None = None, image: str | None = None) -> Sandbox:
    """A sandbox of the kind.

    Args:
        kind: Which.
        app_dir: The bundle, unpacked, for the in-process one.
        fab: The bundle, for what it is going to import.
        image: An image on the Docker Engine, for containers.

    Raises:
        InputError: Containers without an image, or with one that is not there.
        UnreachableError: Containers without a Docker Engine.
    """
    if kind == "docker":
        return _docker_sandbox(image, app_dir.parent / "containers")
    if kind == "subprocess":
        sandbox = SubprocessSandbox(preload=_slow_imports(fab) if fab else ())
        sandbox.warm_up()
        return sandbox

    no_bundle = app_dir.parent / "no-bundle"

    def load(spec: SandboxSpec) -> AppHost:
        if spec.fab.files:
            return load_host(spec.hello(str(app_dir), lambda name, path: str(path)))
        no_bundle.mkdir(exist_ok=True)
        path = list(sys.path)
        sys.path[:] = [folder for folder in path if folder != str(app_dir)]  # the ServerApp's is this process too
        try:
            return load_host(spec.hello(str(no_bundle), lambda name, path: str(path)))
        finally:
            sys.path[:] = path

    return InProcessSandbox(load)


def _docker_sandbox(image: str | None, folder: Path) -> Sandbox:
    import docker.errors  # noqa: PLC0415  (only who asks for containers pays for the client)

    from flame_fl.sandbox.docker import DockerSandbox, Images, connect  # noqa: PLC0415

    if image is None:
        raise InputError("--sandbox docker needs --image.", mend="Build one for the app: `flame node image build APP`.")
    try:
        image_id = str(connect().images.get(image).id)
    except docker.errors.DockerException as err:
        raise InputError(f"There is no image {image!r} on the engine.", mend="`flame node image list`.") from err
    return DockerSandbox(
        Images(image_id, {VETTED_APP: image_id}), owner=f"simulation-{secrets.token_hex(6)}", folder=folder
    )


def _slow_imports(fab: Fab) -> tuple[str, ...]:
    """Libraries that the bundle names in an import and that take long; not those it brings itself."""
    own = {name.partition("/")[0].removesuffix(".py") for name in fab.files}
    text = b"\n".join(data for name, data in fab.files.items() if name.endswith(".py"))
    named = {word.decode() for word in re.findall(rb"^\s*(?:import|from)\s+(\w+)", text, re.MULTILINE)}
    return tuple(module for name, modules in _SLOW.items() if name in named - own for module in modules)


def open_gates(
    plans: tuple[NodePlan, ...],
    data: Mapping[str, Offers],
    policy: Policy,
    sandbox: Sandbox,
    noise_of: Callable[[str], NoiseSource],
    *,
    state: Path,
    logs: Path,
    views: Path,
    seed: int,
    on_event: Callable[[Event], None],
    closing: ExitStack,
) -> dict[int, Gate]:
    """A gate per node, by Flower node id, with its data stores by node name. State files are closed by `closing`.

    Raises:
        InputError: The state cannot be written.
        VerificationError: It is of another version, or no state.
    """
    gates = {}
    for index, plan in enumerate(plans):
        file = state / plan.name / "state.db"
        store, key = _open_store(file)
        closing.callback(store.close)
        gates[_FIRST_NODE_ID + index] = Gate(
            node=plan.name,
            node_id=_FIRST_NODE_ID + index,
            store=store,
            sandbox=sandbox,
            data=data[plan.name],
            limits=policy.limits,
            noise=noise_of(plan.name),
            log_dir=logs,
            view_dir=views,
            trust=partial(simulated_trust, key),
            node_config={"partition-id": index, "num-partitions": len(plans)},
            seed=seed,
            block_key=sha256_hex(f"{seed}/{plan.name}/blocks".encode()).encode(),
            on_event=on_event,
            identity=key,
        )
    return gates


def _open_store(path: Path) -> tuple[Store, Ed25519PrivateKey]:
    try:
        Store(path, durable=False).close()  # what is no state is left as it is, without a key beside it
        key = simulated_key(identity_file(path))
        return Store(path, durable=False, key=key), key
    except (OSError, sqlite3.OperationalError) as err:
        why = getattr(err, "strerror", None) or str(err)
        raise InputError(
            f"The state {path} cannot be opened ({why}).", mend="Choose another --state or --out."
        ) from err


def worker_count(nodes: int) -> int:
    """How many nodes work at once: one per core this process may use."""
    return max(1, min(nodes, len(os.sched_getaffinity(0))))
