"""Reading what is not the app's, and writing what is not its scratch."""

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flame_fl.sandbox.docker import DockerSandbox
from tests.security.docker.kit import SECRET, Inside, attack, start

pytestmark = pytest.mark.docker

# Looks for `marker` in every file that can be read; what the image brought and the kernel's own files are left out.
SEARCH = """
def holds(path):
    try:
        if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > 1 << 20:
            return False
        with open(path, "rb") as file:
            return marker.encode() in file.read()
    except OSError:
        return False

def search(tops):
    return [os.path.join(folder, name) for top in tops for folder, _, names in os.walk(top) for name in names
            if holds(os.path.join(folder, name))]
"""
EVERYWHERE = [
    "/app",
    "/data",
    "/tmp",
    "/etc",
    "/var",
    "/run",
    "/root",
    "/home",
    "/srv",
    "/mnt",
    "/media",
    "/dev",
    "/usr/local",
]


def tree(folder: Path) -> str:
    """One digest over names, modes and content."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        digest.update(f"{path.relative_to(folder)} {path.lstat().st_mode} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@attack(
    "read the node's keys and state, by the paths they have on the host and by searching every file",
    "nothing of them is mounted: their paths do not exist in the container, and no readable file holds their content",
)
def test_the_nodes_keys_and_state(inside: Inside, tmp_path: Path) -> None:
    marker = f"key-{secrets.token_hex(8)}"
    keys = tmp_path / "keys"
    keys.mkdir()
    paths = [keys / "identity.key", tmp_path / "state.db", tmp_path / "node.toml"]
    for path in paths:
        path.write_text(marker)
        path.chmod(0o644)  # a mode that would let it be read
    wanted = [*map(str, paths), "/etc/flame/node.toml", "/var/lib/flame/state.db", "/home/node/keys"]
    source = SEARCH + "found = [[attempt(open, path) for path in wanted], search(everywhere)]"
    opened, held = inside.run(source, wanted=wanted, marker=marker, everywhere=EVERYWHERE)
    assert set(opened) == {"FileNotFoundError 2"}
    assert held == []
    control = inside.run(SEARCH + "found = search(everywhere)", marker=SECRET, everywhere=EVERYWHERE)
    assert control == ["/data/cohort/patients.txt"], "the control: the search finds what is there"


@attack(
    "find secrets of the gate in environment variables and command lines, its own and those of every process",
    "the environment holds limits and places only; no process of the host can be seen",
)
def test_environment_and_command_lines(
    begin: Callable[..., Inside], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    marker = f"token-{secrets.token_hex(8)}"
    for name in ("FLAME_TOKEN", "FLWR_SUPEREXEC_AUTH_SECRET", "DOCKER_HOST_SECRET"):
        monkeypatch.setenv(name, marker)
    source = """
    found = {"names": sorted(os.environ), "holds": [], "looked": 0}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("environ", "cmdline"):
            said = attempt(lambda: open(f"/proc/{pid}/{name}", "rb").read())
            found["looked"] += 1
            if marker.encode() in (said if isinstance(said, bytes) else b""):
                found["holds"].append([pid, name])
    """
    found = begin().run(source, marker=marker)
    assert found["holds"] == []
    assert found["looked"] >= 4
    allowed = {"PATH", "HOME", "TMPDIR", "HOSTNAME", "LANG", "LC_CTYPE"}
    prefixes = ("PYTHON", "FLWR_", "GRPC_", "OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_", "KMP_", "FLAME_WORKER")
    assert [n for n in found["names"] if n not in allowed and not n.startswith(prefixes)] == []


@attack(
    "read another run's scratch, shared memory and sockets, while that run is at work at the same node",
    "each run has a container of its own: another file system, shared memory, network and process space",
)
def test_another_runs_scratch(begin: Callable[..., Inside]) -> None:
    marker = f"weights-{secrets.token_hex(8)}"
    victim, thief = begin(), begin()
    names = victim.run(
        """
        import multiprocessing.shared_memory
        os.makedirs("/tmp/work", exist_ok=True)
        open("/tmp/work/weights.txt", "w").write(marker)
        KEPT["shared"] = multiprocessing.shared_memory.SharedMemory("weights", create=True, size=4096)
        KEPT["shared"].buf[:len(marker)] = marker.encode()
        KEPT["server"] = socket.socket(socket.AF_UNIX)
        KEPT["server"].bind("\\0weights")
        KEPT["server"].listen()
        found = os.listdir("/tmp") + os.listdir("/dev/shm")
        """,
        marker=marker,
    )
    assert {"work", "weights"} <= set(names)
    source = (
        SEARCH
        + """
one = socket.socket(socket.AF_UNIX)
found = [search(everywhere), attempt(one.connect, "\\0weights"), os.listdir("/dev/shm"), os.path.exists("/tmp/work")]
"""
    )
    assert thief.run(source, marker=marker, everywhere=EVERYWHERE) == [[], "ConnectionRefusedError 111", [], False]
    own = victim.run(SEARCH + "found = search(everywhere)", marker=marker, everywhere=EVERYWHERE)
    assert sorted(own) == ["/dev/shm/weights", "/tmp/work/weights.txt"], "the control: the search finds it at home"


@attack(
    "read an earlier run's scratch after its container ended",
    "scratch and shared memory are memory of the container's own and go with it; no volume is left",
)
def test_an_earlier_runs_scratch(
    sandbox: DockerSandbox, tmp_path: Path, engine: Any, owner: str, begin: Callable[..., Inside]
) -> None:
    marker = f"weights-{secrets.token_hex(8)}"
    volumes = {volume.name for volume in engine.volumes.list()}
    earlier = start(sandbox, tmp_path)
    earlier.run("open('/tmp/a', 'w').write(marker); open('/dev/shm/b', 'w').write(marker)", marker=marker)
    earlier.session.close()
    found = begin().run(SEARCH + "found = search(everywhere)", marker=marker, everywhere=EVERYWHERE)
    assert found == []
    assert {volume.name for volume in engine.volumes.list()} <= volumes


@attack(
    "read host files through links: in the data store, and made by the app itself",
    "a link is followed inside the container, where the host's files are not",
)
def test_links_that_lead_out(inside: Inside, cohort: Path) -> None:
    outside = cohort.parent / "outside.txt"
    assert (cohort / "link.txt").read_text() == outside.read_text(), "the control: on the host both links work"
    assert (cohort / "up.txt").read_text() == outside.read_text()
    source = """
    found = [attempt(lambda: open(f"/data/cohort/{name}").read()) for name in ("link.txt", "up.txt")]
    os.symlink(outside, "/tmp/link")
    found.append(attempt(lambda: open("/tmp/link").read()))
    found.append(attempt(lambda: open("/data/cohort/../../../.." + outside).read()))
    os.unlink("/tmp/link")
    """
    assert inside.run(source, outside=str(outside)) == ["FileNotFoundError 2"] * 4


@attack(
    "reach the host's root by /proc/1/root, /proc/self/cwd, an inherited descriptor and a path without end",
    "its own process 1 is the container's; no descriptor points to a folder of the host",
)
def test_ways_round_the_root(inside: Inside) -> None:
    source = """
    def same(path):
        one, other = os.stat(path), os.stat("/")
        return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
    found = {
        "roots": [attempt(same, path) for path in ("/proc/1/root", "/proc/self/root", "/" + "../" * 200)],
        "folders": [os.readlink(f"/proc/self/fd/{d}") for d in os.listdir("/proc/self/fd")
                    if os.path.isdir(f"/proc/self/fd/{d}")],
        "chroot": attempt(os.chroot, "/tmp"),
    }
    """
    found = inside.run(source)
    assert set(found["roots"]) <= {True, "PermissionError 13"}
    assert all(folder.startswith("/proc/") for folder in found["folders"])  # the listing's own
    assert found["chroot"] == "PermissionError 1"


WRITES = """
def write(path):
    with open(path, "a") as file:
        file.write("x")
    return "written"
def change(folder, file):
    return [
        attempt(write, f"{folder}/new"), attempt(write, f"{folder}/{file}"), attempt(os.unlink, f"{folder}/{file}"),
        attempt(os.rename, f"{folder}/{file}", f"{folder}/other"), attempt(os.mkdir, f"{folder}/a-new-folder"),
        attempt(os.chmod, f"{folder}/{file}", 0o666), attempt(os.truncate, f"{folder}/{file}", 0),
        attempt(os.symlink, "/etc", f"{folder}/link-to-etc"), attempt(os.link, f"{folder}/{file}", "/tmp/linked"),
        attempt(os.utime, f"{folder}/{file}"),
    ]
"""
REFUSALS = {"OSError 30", "PermissionError 13", "PermissionError 1", "OSError 18"}  # read-only, EACCES, EPERM, EXDEV


@attack(
    "change, replace, rename, link or remove files of the data store",
    "the mount is read-only, and the files on the host are what they were, to the byte",
)
def test_writing_to_the_data(inside: Inside, cohort: Path) -> None:
    before = tree(cohort)
    (cohort / "patients.txt").chmod(0o666)  # a mode that would allow it
    cohort.chmod(0o777)
    opened = tree(cohort)
    said = inside.run(
        WRITES + "found = change('/data/cohort', 'patients.txt') + change('/data/cohort/images', '1.txt')"
    )
    assert set(said) <= REFUSALS
    assert "OSError 30" in said
    assert tree(cohort) == opened != before
    assert inside.run(WRITES + "found = write('/tmp/control')") == "written", "the control: scratch can be written"


@attack(
    "change the app's own code after it was approved, for a later message or run",
    "the bundle is mounted read-only from a copy of the gate's, unpacked anew for each session",
)
def test_writing_to_the_app(inside: Inside) -> None:
    said = inside.run(WRITES + "found = change('/app', 'pyproject.toml') + change('/app/app', 'client.py')")
    assert set(said) <= REFUSALS
    assert "OSError 30" in said


@attack(
    "change the image: Python, flame_fl and Flower in it, the system's files, the preload list of the loader",
    "the root file system is read-only and belongs to root; the image's id is the same afterwards",
)
def test_writing_to_the_image(inside: Inside) -> None:
    source = (
        WRITES
        + """
import flame_fl, flwr
places = [(os.path.dirname(flame_fl.__file__), "__init__.py"), (os.path.dirname(flwr.__file__), "__init__.py"),
          ("/etc", "passwd"), ("/usr/bin", "python3"), ("/usr/local/lib", "x"), ("/root", "x"), ("/", "x")]
found = [said for folder, file in places for said in change(folder, file)] + [attempt(write, "/etc/ld.so.preload")]
"""
    )
    assert set(inside.run(source)) <= REFUSALS | {"FileNotFoundError 2"}
    where = inside.run(
        "found = [attempt(lambda: open(os.path.join(p, 'x'), 'w').close()) for p in places]",
        places=["/opt", "/var/tmp", "/run"],
    )
    assert set(where) <= REFUSALS


@attack(
    "make a mount writable again, or mount over it",
    "no capability, and no system call that mounts",
)
def test_remounting(inside: Inside) -> None:
    source = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    def mount(source, target, kind, flags):
        ctypes.set_errno(0)
        return [libc.mount(source, target, kind, flags, None), ctypes.get_errno()]
    found = [mount(None, b"/data/cohort", None, 32 | 4096), mount(b"none", b"/app", b"tmpfs", 0),
             mount(b"/proc/1/root", b"/tmp", None, 4096), [libc.umount2(b"/data/cohort", 2), ctypes.get_errno()]]
    """
    assert inside.run(source) == [[-1, 1]] * 4


@attack(
    "use the host's devices and the kernel's switches: disks, memory, sysrq, core_pattern, cgroups",
    "only the harmless devices are there; /proc's switches and /sys are read-only or hidden",
)
def test_devices_and_switches(inside: Inside) -> None:
    source = (
        WRITES
        + """
import stat
devices = sorted(name for name in os.listdir("/dev") if stat.S_ISBLK(os.lstat(f"/dev/{name}").st_mode)
                 or stat.S_ISCHR(os.lstat(f"/dev/{name}").st_mode))
found = {"devices": devices,
         "made": attempt(os.mknod, "/tmp/disk", 0o660 | stat.S_IFBLK, os.makedev(8, 0)),
         "written": [attempt(write, path) for path in switches],
         "read": [attempt(lambda: open(path, "rb").read(1)) for path in hidden]}
found["read"] = [said if isinstance(said, str) else len(said) for said in found["read"]]
"""
    )
    switches = [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
    ]
    switches += [
        "/sys/kernel/uevent_helper",
        "/sys/fs/cgroup/pids/pids.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]
    hidden = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/dev/mem", "/dev/kmsg", "/proc/sched_debug"]
    found = inside.run(source, switches=switches, hidden=hidden)
    lower = "found = attempt(lambda: os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-1000'))"
    assert inside.run(lower) == "PermissionError 13"  # others would be killed in its place
    assert set(found["devices"]) <= {"full", "null", "random", "tty", "urandom", "zero", "console", "ptmx"}
    assert found["made"] == "PermissionError 1"
    assert set(found["written"]) <= REFUSALS | {"FileNotFoundError 2"}
    assert [said for said in found["read"] if said not in {0, "FileNotFoundError 2", "PermissionError 13"}] == []


@attack(
    "become root by a setuid program of the image, or by a program with capabilities",
    "no-new-privileges, and no capability in any set",
)
def test_setuid_programs(inside: Inside) -> None:
    source = """
    import subprocess
    def status(command):
        said = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True).stdout
        return dict(line.split(":\\t", 1) for line in said.splitlines() if ":\\t" in line)
    own = status(["cat", "/proc/self/status"])
    found = {name: own[name] for name in ("Uid", "Gid", "NoNewPrivs", "Seccomp")}
    found["capabilities"] = [own[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")]
    found["there"] = [name for name in ("su", "mount", "passwd", "newgrp") if os.path.exists(f"/usr/bin/{name}")]
    found["as"] = subprocess.run(["su", "-c", "id -u"], capture_output=True, stdin=subprocess.DEVNULL, text=True).stdout
    found["set"] = [attempt(os.setuid, 0), attempt(os.setgid, 0), attempt(os.setgroups, [])]
    """
    found = inside.run(source)
    assert found["Uid"].split() == found["Gid"].split() == ["65534"] * 4
    assert found["capabilities"] == ["0" * 16] * 4
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert found["there"], "the control: the image has such programs"
    assert found["as"] == ""
    assert set(found["set"]) == {"PermissionError 1"}


@attack(
    "start a program that no file of the image holds: written to scratch, in shared memory, or in no file at all",
    "scratch and shared memory are noexec; memfd and execveat are blocked. What Python can do, it needs none for",
)
def test_programs_of_its_own(inside: Inside) -> None:
    source = """
    import shutil, subprocess
    def launch(folder):
        shutil.copy("/bin/true", f"{folder}/program")
        os.chmod(f"{folder}/program", 0o755)
        return subprocess.run([f"{folder}/program"]).returncode
    found = [attempt(launch, folder) for folder in ("/tmp", "/dev/shm")] + [attempt(os.memfd_create, "x")]
    """
    assert inside.run(source) == ["PermissionError 13", "PermissionError 13", "PermissionError 1"]
    assert inside.run("import subprocess; found = subprocess.run(['/bin/true']).returncode") == 0


@attack(
    "learn about the host from /proc and /sys",
    "seen: kernel version, processors, memory, load, uptime, and the host's paths of the app's own mounts. Not seen: "
    "host name, users, processes, other mounts",
)
def test_what_can_be_learned_of_the_host(inside: Inside, cohort: Path) -> None:
    source = """
    found = {"uname": list(os.uname()), "mounts": open("/proc/self/mountinfo").read()}
    """
    found = inside.run(source)
    assert found["uname"][1] == "sandbox" != os.uname().nodename
    assert os.uname().release in found["uname"]
    assert cohort.name in found["mounts"]
    assert Path(pytest.__file__).parent.as_posix() not in found["mounts"]
    theirs = {line.split()[4] for line in found["mounts"].splitlines()}
    allowed = ("/proc", "/sys", "/dev", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts")
    assert [
        m
        for m in theirs - {"/", "/tmp", "/app", "/data/cohort"}
        if not m.startswith(allowed) and Path(m).name != "docker-init"
    ] == []
