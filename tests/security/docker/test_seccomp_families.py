"""What the seccomp profile blocks, family by family, each call beside a control.

Every call is made three times, with the same arguments: as root with every capability it asks for and no filter (the
control, which shows what the kernel itself says), the same with our profile (so that the profile is the only
difference), and as a sandbox runs. A call passes only if the control was not refused, and the other two were, in
another way than the control ended: it cannot pass because a capability is missing, or as this kernel lacks the call.
"""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from flame_fl.sandbox.seccomp import profile

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls here are those of x86_64"),
]

Call = tuple[int | str, list[int | str]]
SCRIPT = Path(__file__).with_name("syscalls.py").read_text(encoding="utf-8")
SIGCHLD = 17
NEW = {"NEWNS": 1 << 17, "NEWCGROUP": 1 << 25, "NEWUTS": 1 << 26, "NEWIPC": 1 << 27, "NEWUSER": 1 << 28}
NEW |= {"NEWPID": 1 << 29, "NEWNET": 1 << 30}
NO_FILE, NO_FLAG, LINK = -1, 1 << 30, "/proc/self/exe"

FAMILIES: dict[str, dict[str, Call]] = {
    "sockets other than AF_UNIX": {
        "AF_INET stream": (41, [2, 1, 0]),
        "AF_INET datagram": (41, [2, 2, 0]),
        "AF_INET raw": (41, [2, 3, 1]),
        "AF_INET6 stream": (41, [10, 1, 0]),
        "AF_NETLINK": (41, [16, 3, 0]),
        "AF_PACKET": (41, [17, 3, 0]),
        "AF_VSOCK": (41, [40, 1, 0]),
        "AF_ALG": (41, [38, 5, 0]),
        "AF_UNIX with high bits set": (41, [(1 << 32) + 1, 1, 0]),
        "socketpair of AF_INET": (53, [2, 1, 0, 0]),
    },
    "io_uring": {
        "setup": (425, [1, 0]),
        "enter": (426, [NO_FILE, 0, 0, 0, 0, 0]),
        "register": (427, [NO_FILE, 0, 0, 0]),
    },
    "ptrace": {"traceme": (101, [0, 0, 0, 0])},
    "memory of other processes": {
        "process_vm_readv": (310, [1, 0, 0, 0, 0, 0]),
        "process_vm_writev": (311, [1, 0, 0, 0, 0, 0]),
        "process_madvise": (440, [NO_FILE, 0, 0, 0, 0]),
        "process_mrelease": (448, [NO_FILE, 0]),
    },
    "kcmp": {"kcmp": (312, [1, 1, 1, 0, 0])},
    "descriptors of other processes": {"pidfd_getfd": (438, [NO_FILE, 0, 0])},
    "keyrings": {
        "add_key": (248, [0, 0, 0, 0, 0]),
        "request_key": (249, [0, 0, 0, 0]),
        "keyctl": (250, [0, -3, 0, 0, 0]),
    },
    "bpf": {"bpf": (321, [0, 0, 0])},
    "perf events": {"perf_event_open": (298, [0, 0, -1, -1, 0])},
    "userfaultfd": {"userfaultfd": (323, [0xFFFF])},
    "mounts": {
        "mount": (165, [0, 0, 0, 0, 0]),
        "umount2": (166, [0, 0]),
        "move_mount": (429, [NO_FILE, 0, NO_FILE, 0, 0]),
        "open_tree": (428, [NO_FILE, 0, 0]),
        "fsopen": (430, [0, 0]),
        "fsconfig": (431, [NO_FILE, 0, 0, 0, 0]),
        "fsmount": (432, [NO_FILE, 0, 0]),
        "fspick": (433, [NO_FILE, 0, 0]),
        "mount_setattr": (442, [NO_FILE, 0, 0, 0, 0]),
        "pivot_root": (155, [0, 0]),
        "chroot": (161, [0]),
        "statmount": (457, [0, 0, 0, 0]),
        "listmount": (458, [0, 0, 0, 0]),
        "sysfs": (139, [3]),
    },
    "namespaces": {
        **{f"clone {name}": (56, [flag | SIGCHLD, 0, 0, 0, 0]) for name, flag in NEW.items()},
        **{f"unshare {name}": (272, [flag]) for name, flag in NEW.items() if name != "NEWUSER"},
        "unshare NEWTIME": (272, [1 << 7]),
        "unshare nothing but files": (272, [1 << 9]),
        "clone3": (435, [0, 0]),
        "setns": (308, [NO_FILE, 0]),
    },
    "another kernel": {
        "kexec_load": (246, [0, 0, 0, 0xFFFF]),
        "kexec_file_load": (320, [NO_FILE, NO_FILE, 0, 0, 0xFFFF]),
        "reboot": (169, [0, 0, 0, 0]),
        "init_module": (175, [0, 0, 0]),
        "finit_module": (313, [NO_FILE, 0, 0]),
        "delete_module": (176, [0, 0]),
    },
    "swap, quota, accounting, the kernel's log": {
        "swapon": (167, [0, 0]),
        "swapoff": (168, [0]),
        "quotactl": (179, [NO_FILE, 0, 0, 0]),
        "quotactl_fd": (443, [NO_FILE, 0, 0, 0]),
        "acct": (163, ["/no/such/file"]),
        "syslog": (103, [10, 0, 0]),
        "sync": (162, []),
        "syncfs": (306, [NO_FILE]),
        "vhangup": (153, []),
    },
    "setting clocks and names": {
        "settimeofday": (164, [1, 0]),
        "adjtimex": (159, [0]),
        "clock_settime": (227, [0, 0]),
        "clock_adjtime": (305, [0, 0]),
        "sethostname": (170, [0, -1]),
        "setdomainname": (171, [0, -1]),
    },
    "input, output and segments of x86": {
        "iopl": (172, [4]),
        "ioperm": (173, [1 << 40, 1, 1]),
        "modify_ldt": (154, [0, 0, 0]),
    },
    "personality": {"no random addresses": (135, [0x0040000]), "readable is executable": (135, [0x0400000])},
    "file handles": {
        "name_to_handle_at": (303, [NO_FILE, 0, 0, 0, 0]),
        "open_by_handle_at": (304, [NO_FILE, 0, 0]),
    },
    "fanotify and inotify": {
        "fanotify_init": (300, [NO_FLAG, 0]),
        "fanotify_mark": (301, [NO_FILE, 0, 0, 0, 0]),
        "inotify_init1": (294, [NO_FLAG]),
    },
    "programs that are in no file": {
        "memfd_create": (319, [0, NO_FLAG]),
        "memfd_secret": (447, [NO_FLAG]),
        "execveat": (322, [NO_FILE, 0, 0, 0, 0]),
    },
    "pages lent to pipes": {
        "splice": (275, [NO_FILE, 0, NO_FILE, 0, 1, 0]),
        "tee": (276, [NO_FILE, NO_FILE, 1, 0]),
        "vmsplice": (278, [NO_FILE, 0, 1, 0]),
    },
    "devices and owners": {
        "mknod": (133, [0, 0, 0]),
        "mknodat": (259, [NO_FILE, 0, 0, 0]),
        "chown": (92, [0, 0, 0]),
        "fchownat": (260, [NO_FILE, 0, 0, 0, 0]),
        "setxattr": (188, [0, 0, 0, 0, 0]),
    },
    "other users": {
        "setuid": (105, [0]),
        "setgid": (106, [0]),
        "setreuid": (113, [-1, -1]),
        "setregid": (114, [-1, -1]),
        "setgroups": (116, [0, 0]),
        "setresuid": (117, [-1, -1, -1]),
        "setresgid": (119, [-1, -1, -1]),
        "capset": (126, [0, 0]),
    },
    "priorities and placement": {
        "setpriority": (141, [0, 0, 0]),
        "sched_setparam": (142, [0, 0]),
        "sched_setscheduler": (144, [0, 0, 0]),
        "sched_setattr": (314, [0, 0, 0]),
        "sched_setaffinity": (203, [0, 0, 0]),
        "ioprio_set": (251, [0, 0, 0]),
        "mbind": (237, [0, 0, 0, 0, 0, 0]),
        "migrate_pages": (256, [0, 0, 0, 0]),
        "move_pages": (279, [0, 0, 0, 0, 0, 0]),
    },
    "memory that cannot be swapped, and what is cached": {
        "mlock": (149, [0, 0]),
        "mlockall": (151, [0]),
        "mincore": (27, [0, 0, 0]),
        "remap_file_pages": (216, [0, 0, 1, 0, 0]),
    },
    "System V and POSIX queues": {
        "shmget": (29, [0, 4096, 0o600]),
        "semget": (64, [0, 1, 0o600]),
        "msgget": (68, [0, 0o600]),
        "mq_open": (240, [0, 0, 0, 0]),
    },
    "old asynchronous input and output": {"io_setup": (206, [0, 0])},
    "prctl beyond names and parents": {
        "PR_SET_SPECULATION_CTRL": (157, [53, 99, 0, 0, 0]),
        "PR_SET_KEEPCAPS": (157, [8, 0, 0, 0, 0]),
        "PR_SET_SECCOMP": (157, [22, 0, 0, 0, 0]),
        "PR_CAP_AMBIENT": (157, [47, 99, 0, 0, 0]),
        "PR_GET_SECUREBITS": (157, [27, 0, 0, 0, 0]),
        "seccomp": (317, [99, 0, 0]),
    },
    "the x32 ABI": {"getpid": ((1 << 30) + 39, [])},
    "the 32-bit ABI": {"getpid": ("int 0x80", [])},
}
# Every capability that one of these calls asks for.
_WORDS = """SYS_ADMIN SYS_PTRACE SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PACCT SYS_BOOT SYS_NICE SYS_TIME SYS_TTY_CONFIG
    SYSLOG DAC_READ_SEARCH NET_RAW NET_ADMIN IPC_LOCK SETUID SETGID SETPCAP MKNOD CHOWN"""
CAPABILITIES = _WORDS.split()
CALLS = {(family, name): call for family, calls in FAMILIES.items() for name, call in calls.items()}
REFUSED = {"EPERM", "ENOSYS", "SIGSYS"}  # SIGSYS: another ABI, the process is ended
Results = dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def outcomes(run_python: Callable[..., str]) -> dict[str, Results]:
    """How each call ended, by who made it."""
    everything = {"cap_drop": ["ALL"], "cap_add": CAPABILITIES, "user": "0"}
    nobody = {"cap_drop": ["ALL"], "user": "65534"}
    who = {
        "control": everything | {"seccomp": "unconfined"},
        "profile": everything | {"seccomp": profile()},
        "sandbox": nobody | {"seccomp": profile()},
    }
    told = json.dumps(list(CALLS.values()))
    return {
        name: dict(zip(CALLS, json.loads(run_python(SCRIPT, told, **how)), strict=True)) for name, how in who.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_the_profile_refuses_the_family(family: str, outcomes: dict[str, Results]) -> None:
    for name in FAMILIES[family]:
        control, filtered, confined = (outcomes[who][family, name] for who in ("control", "profile", "sandbox"))
        assert control not in {"EPERM", "SIGSYS"}, f"{name}: the control proves nothing"
        assert filtered in REFUSED - {control}, f"{name} ended in {filtered} as root, {control} without the profile"
        assert confined in REFUSED - {control}, f"{name} ended in {confined} in a sandbox"


@pytest.mark.parametrize(
    "call",
    [(41, [1, 1, 0]), (135, [0]), (135, [0xFFFFFFFF]), (157, [15, "name"]), (56, [SIGCHLD, 0, 0, 0, 0]), (39, [])],
)
def test_the_profile_lets_pass_what_its_filters_on_arguments_mean_to(
    call: Call, run_python: Callable[..., str]
) -> None:
    """AF_UNIX, Linux's own personality and asking for it, a name for a thread, a plain fork, and getpid."""
    said = run_python(SCRIPT, json.dumps([call]), seccomp=profile(), cap_drop=["ALL"], user="65534")
    assert json.loads(said) == ["ok"]


def test_an_honest_app_finds_all_it_needs(run_python: Callable[..., str]) -> None:
    """Threads, processes, shared memory, programs, files, Unix sockets, signals: of Python itself."""
    source = Path(__file__).with_name("honest.py").read_text(encoding="utf-8")
    works = ["threads", "processes", "shared_memory", "programs", "event_loop", "files", "unix_sockets"]
    options = {"cap_drop": ["ALL"], "user": "65534", "tmpfs": {"/tmp": "size=64m"}, "init": True}
    said = run_python(source, *works, "signals_and_clocks", seccomp=profile(), **options)
    assert said.split() == [*works, "signals_and_clocks", "done"]
