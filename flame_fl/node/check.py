"""`flame node check`: what must hold before a node is started, each looked at for real."""

import shutil
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPSConnection

import docker
import docker.errors

from flame_fl.contract.errors import FlameError
from flame_fl.contract.terms import Resources
from flame_fl.data.snapshot import changed
from flame_fl.flower.versions import require_tested_flower
from flame_fl.gate.store import Store
from flame_fl.node.wiring import Node, require_mock
from flame_fl.sandbox.docker import connect
from flame_fl.sandbox.self_test import expected, run_self_test

_SKEW_SECONDS = 60.0
_ROOM_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Finding:
    """One check. `mend` says what to do if it does not hold."""

    name: str
    holds: bool
    said: str
    mend: str = ""


def check(node: Node) -> Iterator[Finding]:
    """Every check, as it is made. Never raises."""
    yield _tried("Flower", require_tested_flower, "is tested")
    yield _tried("permissions", lambda: _permissions(node))
    yield _tried("state", lambda: _state(node))
    yield _tried("disk", lambda: _disk(node))
    yield _tried("data stores", lambda: _stores(node))
    yield _tried("hub", lambda: _hub(node))
    if node.config.sandbox.kind == "docker":
        yield _tried("Docker Engine", lambda: _engine(node))
        yield _tried("images", lambda: _images(node))
        yield _tried("isolation", lambda: _isolation(node))
    else:
        yield _tried("sandbox", lambda: _confines_nothing(node))


def _tried(name: str, look: Callable[[], str], suffix: str = "") -> Finding:
    try:
        return Finding(name, holds=True, said=f"{look()} {suffix}".strip())
    except FlameError as err:
        return Finding(name, holds=False, said=err.message, mend=err.mend)
    except Exception as err:  # a check must not end the others
        return Finding(name, holds=False, said=f"{type(err).__name__}: {err}")


def _permissions(node: Node) -> str:
    files = node.files
    for path in (files.keys, files.flower_key, files.identity_key, files.data_key, files.secret):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise FlameError(f"{path} can be read by others.", mend=f"chmod go-rwx {path}")
    return "keys and secret are the node's own"


def _state(node: Node) -> str:
    store = Store(node.files.database)
    try:
        entries, head = store.verify_audit()
        if locks := store.locks.open():
            raise FlameError(f"The state is locked: {locks[0].why}.", mend="flame node reconcile; docs/audit.md.")
    finally:
        store.close()
    return f"the audit chain holds: {entries} entries, head {head[:16]}…"


def _disk(node: Node) -> str:
    free = shutil.disk_usage(node.files.state).free
    if free < _ROOM_BYTES:
        raise FlameError(f"Only {free / 1e9:.1f} GB are free for the state.", mend="Make room; 2 GB at least.")
    return f"{free / 1e9:.0f} GB free for the state"


def _stores(node: Node) -> str:
    found = node.data.registry.all().values()
    for registration in found:
        if changed(node.data.registry.snapshot(registration.current)):
            raise FlameError(
                f"Files of data store {registration.name!r} were touched since they were registered.",
                mend=f"flame node data check {registration.name}, then flame node data refresh {registration.name}",
            )
    return ", ".join(f"{r.name}: {r.current.patients} patients" for r in found) or "none registered yet"


def _hub(node: Node) -> str:
    address = node.config.hub.address
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(node.files.ca(node.config)))
    connection = HTTPSConnection(host.strip("[]"), int(port), timeout=10, context=context)
    try:
        asked = time.time()
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
    except ssl.SSLError as err:
        raise FlameError(
            f"The hub {address} shows a certificate that {node.config.hub.ca} did not sign ({err.reason}).",
            mend="Ask the hub's administrator for ca.crt, and see that nobody is in between.",
        ) from err
    except OSError as err:
        raise FlameError(
            f"The hub {address} cannot be reached ({err}).",
            mend="See the address in node.toml, and whether the firewall lets this machine out to it.",
        ) from err
    finally:
        connection.close()
    if (date := answer.getheader("Date")) is not None:
        skew = abs(parsedate_to_datetime(date).timestamp() - asked)
        if skew > _SKEW_SECONDS:
            raise FlameError(
                f"This machine's clock and the hub's differ by {skew:.0f} s; the hub would refuse the node.",
                mend="Set the clock (NTP).",
            )
    return f"{address} answers over TLS signed by its authority; clocks agree"


def _engine(node: Node) -> str:
    client = connect(node.config.sandbox.engine or None, timeout_seconds=10)
    info = client.info()
    runtime = node.config.sandbox.runtime
    if runtime not in info.get("Runtimes", {}):
        raise FlameError(f"The engine has no runtime {runtime!r}.", mend="deploy/README.md says how gVisor is set up.")
    if not any("seccomp" in option for option in info.get("SecurityOptions", [])):
        raise FlameError("The engine's kernel has no seccomp.", mend="Use a kernel with CONFIG_SECCOMP_FILTER.")
    return f"Docker {info.get('ServerVersion')}, runtime {runtime}, seccomp"


def _images(node: Node) -> str:
    client = connect(node.config.sandbox.engine or None, timeout_seconds=10)
    named = [image for image in node.config.images.values() if image]
    if not named:
        raise FlameError(
            "No image is named in [images] of node.toml, so no app can run.", mend="`flame node image build APP`."
        )
    for image in named:
        _require_image(client, image)
    return f"{len(named)} on the engine"


def _require_image(client: docker.DockerClient, image: str) -> None:
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound as err:
        raise FlameError(
            f"The engine has no image {image}, which node.toml names.",
            mend="`flame node image list` shows those it has; `flame node image build APP` builds one.",
        ) from err


def _isolation(node: Node) -> str:
    image = next((i for i in node.config.images.values() if i), None)
    if image is None:
        raise FlameError("There is no image to test with.", mend="`flame node image build APP`.")
    client = connect(node.config.sandbox.engine or None)
    _require_image(client, image)
    runtime = node.config.sandbox.runtime
    found = run_self_test(client, image, Resources(), owner=node.config.node.id, runtime=runtime)
    wanted = expected(runtime)
    broken = [f"{name}: {found.get(name)!r}" for name in wanted if found.get(name) != wanted[name]]
    if broken:
        raise FlameError(
            f"A container of ours is not confined as it should be: {'; '.join(broken)}.",
            mend="Do not start the node. See the engine's configuration.",
        )
    return f"{len(wanted)} properties seen from inside a container"


def _confines_nothing(node: Node) -> str:
    require_mock(node.data.registry.all())
    return "subprocess: confines nothing; mock data only"
