"""Reaching anything outside the container. Two walls, each shown to hold alone: no network, and no socket for one."""

import itertools
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flame_fl.sandbox.seccomp import profile
from tests.security.docker.conftest import Listeners
from tests.security.docker.kit import Inside, attack

pytestmark = pytest.mark.docker

EPERM, ENETUNREACH, ECONNREFUSED = "PermissionError 1", "OSError 101", "ConnectionRefusedError 111"
# Runs in the sandbox, and (as a control) in a container on the host's own network.
CONNECT = """
import json, socket, sys

def attempt(call, *arguments):
    try:
        return call(*arguments)
    except OSError as err:
        return f"{type(err).__name__} {err.errno}"

def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(5)
        one.connect(address)
        return "connected"

def look(wanted):
    return {
        name: attempt(connect, getattr(socket, family), tuple(at) if isinstance(at, list) else at)
        for name, (family, at) in wanted.items()
    }
"""


def on_the_host(run_python: Callable[..., str], wanted: dict[str, Any]) -> dict[str, str]:
    """The same code in a container with the host's network and no filter: it is able to reach what is there."""
    source = CONNECT + "print(json.dumps(look(json.loads(sys.argv[1]))))"
    said = run_python(source, json.dumps(wanted), network_mode="host", seccomp="unconfined")
    return dict(json.loads(said))


def unfiltered(without_filter: Callable[..., str], wanted: dict[str, Any]) -> dict[str, str]:
    """The sandbox's other wall alone: no network, and Docker's own seccomp profile."""
    source = CONNECT + "print(json.dumps(look(json.loads(sys.argv[1]))))"
    return dict(json.loads(without_filter(source, json.dumps(wanted))))


def in_the_sandbox(inside: Inside, wanted: dict[str, Any]) -> dict[str, str]:
    return dict(inside.run(CONNECT + "found = look(wanted)", wanted=wanted))


def gateways() -> list[str]:
    """Addresses under which a container with a network would find the host."""
    lines = Path("/proc/net/fib_trie").read_text().split("\n")
    found = {a.split()[1] for a, b in itertools.pairwise(lines) if "|--" in a and "host LOCAL" in b}
    return sorted(address for address in found if not address.startswith("127."))


@attack(
    "connect to services on the host's loopback, as the SuperNode's and the gate's are",
    "a network of its own without any interface but its own loopback; no socket but AF_UNIX",
)
def test_the_hosts_loopback(
    inside: Inside, listeners: Listeners, run_python: Callable[..., str], without_filter: Callable[..., str]
) -> None:
    wanted = {"SuperNode": ("AF_INET", ["127.0.0.1", listeners.loopback])}
    assert on_the_host(run_python, wanted) == {"SuperNode": "connected"}
    before = len(listeners.heard)
    assert in_the_sandbox(inside, wanted) == {"SuperNode": EPERM}
    assert unfiltered(without_filter, wanted) == {"SuperNode": ECONNREFUSED}
    assert len(listeners.heard) == before


@attack(
    "connect to services of the host that listen on 0.0.0.0, by every address the host has",
    "no route to any of them; no socket but AF_UNIX",
)
def test_services_of_the_host_on_every_address(
    inside: Inside, listeners: Listeners, run_python: Callable[..., str], without_filter: Callable[..., str]
) -> None:
    addresses = [*gateways(), "172.17.0.1"]
    wanted = {a: ("AF_INET", [a, listeners.everywhere]) for a in addresses}
    assert "connected" in on_the_host(run_python, wanted).values()
    before = len(listeners.heard)
    assert set(in_the_sandbox(inside, wanted).values()) == {EPERM}
    assert set(unfiltered(without_filter, wanted).values()) == {ENETUNREACH}
    assert len(listeners.heard) == before


@attack(
    "connect to the internet, by IPv4 and IPv6",
    "no route: the error is 'network is unreachable' at once, or EPERM by the filter",
)
def test_the_internet(inside: Inside, without_filter: Callable[..., str]) -> None:
    wanted = {
        "4": ("AF_INET", ["198.51.100.7", 443]),
        "6": ("AF_INET6", ["2001:db8::7", 443]),
    }
    assert set(in_the_sandbox(inside, wanted).values()) == {EPERM}
    assert set(unfiltered(without_filter, wanted).values()) <= {ENETUNREACH, "OSError 99"}


@attack(
    "ask a cloud's metadata service at 169.254.169.254 for credentials",
    "no route to link-local addresses; no socket but AF_UNIX",
)
def test_metadata_addresses(inside: Inside, without_filter: Callable[..., str]) -> None:
    wanted = {"4": ("AF_INET", ["169.254.169.254", 80]), "6": ("AF_INET6", ["fd00:ec2::254", 80])}
    assert set(in_the_sandbox(inside, wanted).values()) == {EPERM}
    assert set(unfiltered(without_filter, wanted).values()) <= {ENETUNREACH, "OSError 99"}


@attack(
    "send data out in DNS names, by the resolver and by datagrams of one's own",
    "nothing resolves; no datagram leaves",
)
def test_dns(inside: Inside, without_filter: Callable[..., str]) -> None:
    source = """
    found = [
        attempt(socket.getaddrinfo, "patient-1957.example.org", 80).split()[0],
        attempt(socket.gethostbyname, "patient-1957.example.org").split()[0],
        attempt(socket.socket, socket.AF_INET, socket.SOCK_DGRAM),
    ]
    """
    assert inside.run(source) == ["gaierror", "gaierror", EPERM]
    datagram = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("198.51.100.53", 53))
except OSError as err:
    print(err.errno)
"""
    assert without_filter(datagram).strip() == "101"


@attack(
    "use the host's network by a Unix socket of the abstract name space, which no file system guards",
    "abstract sockets belong to a network name space, and the container has its own",
)
def test_abstract_unix_sockets(inside: Inside, listeners: Listeners, run_python: Callable[..., str]) -> None:
    wanted = {"abstract": ("AF_UNIX", f"\0{listeners.abstract}")}
    assert on_the_host(run_python, wanted) == {"abstract": "connected"}
    before = len(listeners.heard)
    assert in_the_sandbox(inside, wanted) == {"abstract": ECONNREFUSED}
    assert len(listeners.heard) == before


@attack(
    "talk to the Docker Engine (or containerd, or podman) by its socket, which is root on the host",
    "no such socket is mounted, and there is no socket file anywhere in the container",
)
def test_the_engines_socket(inside: Inside) -> None:
    paths = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"]
    paths.append(os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or paths[0])
    assert any(Path(path).is_socket() for path in paths), "the control: the host has one"
    source = (
        CONNECT
        + """
import os, stat
wanted = {path: ("AF_UNIX", path) for path in paths}
sockets = [
    os.path.join(folder, name)
    for top in ("/run", "/var", "/tmp", "/app", "/data", "/dev", "/mnt", "/srv", "/home", "/opt")
    for folder, _, names in os.walk(top)
    for name in names
    if attempt(lambda: stat.S_ISSOCK(os.lstat(os.path.join(folder, name)).st_mode)) is True
]
found = [look(wanted), sockets]
"""
    )
    looked, sockets = inside.run(source, paths=paths)
    assert set(looked.values()) == {"FileNotFoundError 2"}
    assert sockets == []


@attack("find an interface, an address or a neighbour to go on from", "there is only the container's own loopback")
def test_no_interface_but_its_own_loopback(inside: Inside) -> None:
    source = """
    found = [sorted(os.listdir("/sys/class/net")), open("/proc/net/route").read().count(chr(10)),
             open("/proc/net/arp").read().count(chr(10)), open("/proc/net/tcp").read().count(chr(10))]
    """
    assert inside.run(source) == [["lo"], 1, 1, 1]  # headings only


@attack("open a raw, packet, netlink or virtual-machine socket", "the seccomp profile: AF_UNIX is the only family")
def test_no_other_family_of_sockets(inside: Inside) -> None:
    source = "found = [attempt(socket.socket, family, kind) for family, kind in wanted]"
    wanted = [(socket.AF_PACKET, 3), (socket.AF_NETLINK, 3), (socket.AF_INET, 3), (socket.AF_VSOCK, 1), (38, 5)]
    assert inside.run(source, wanted=[(int(f), int(k)) for f, k in wanted]) == [EPERM] * 5
    assert '"socket"' in profile()


@attack(
    "listen inside, so that something from outside may connect and fetch",
    "no TCP socket to listen with; no port is published; nothing outside shares the network",
)
def test_listening_inside(inside: Inside) -> None:
    assert inside.run("found = attempt(socket.create_server, ('0.0.0.0', 8080))") == EPERM
