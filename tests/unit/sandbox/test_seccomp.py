"""The profile as a document: what Docker reads. What a kernel makes of it: tests/security/docker."""

import json
import re
from importlib import resources
from typing import Any

import pytest

from flame_fl.sandbox.seccomp import digest, profile

TABLE: dict[str, Any] = json.loads(profile())
ALLOWED = {name for rule in TABLE["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
FILTERED = {name for rule in TABLE["syscalls"] if "args" in rule for name in rule["names"]}


def test_what_is_not_listed_is_refused() -> None:
    assert TABLE["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {rule["action"] for rule in TABLE["syscalls"]} == {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"}


def test_no_32_bit_abi() -> None:
    assert set(TABLE["architectures"]) == {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"}
    assert "archMap" not in TABLE


def test_a_call_with_a_filter_on_its_arguments_is_nowhere_allowed_without() -> None:
    assert {"socket", "socketpair", "clone", "personality", "prctl"} == FILTERED
    free = {n for r in TABLE["syscalls"] if r["action"] == "SCMP_ACT_ALLOW" and "args" not in r for n in r["names"]}
    assert free & FILTERED == set()


def test_clone3_is_not_there_so_that_glibc_takes_clone() -> None:
    rule = next(rule for rule in TABLE["syscalls"] if rule["names"] == ["clone3"])
    assert (rule["action"], rule["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


@pytest.mark.parametrize(
    "family",
    [
        "mount|umount|fs(open|config|mount|pick)|pivot_root|chroot|open_tree",
        "io_uring|bpf|perf_|userfaultfd|ptrace|process_|kcmp|pidfd_getfd",
        "set(re|res|fs)?[ug]id|setgroups|capset|unshare|setns",
        "memfd_|execveat|splice|vmsplice|tee$|mknod|.*_module|kexec|reboot|swap|quota|acct|syslog",
        ".*settime$|.*adjtime|set(host|domain)name|io(pl|perm)|modify_ldt|.*handle_at|fanotify|add_key|request_key|keyctl",
    ],
)
def test_nothing_of_the_family_is_allowed(family: str) -> None:
    """`timer_settime` sets a timer of the process's own, and `timerfd_settime` too."""
    found = {name for name in ALLOWED if re.match(family, name)} - {"timer_settime", "timerfd_settime"}
    assert found == set()


def test_each_rule_says_in_the_file_what_it_is_for_and_names_no_call_twice() -> None:
    file = json.loads(resources.files("flame_fl.sandbox").joinpath("seccomp.json").read_text())
    assert all(rule["comment"] for rule in file["syscalls"])
    names = [name for rule in file["syscalls"] if "args" not in rule for name in rule["names"]]
    assert len(names) == len(set(names))


def test_what_is_handed_to_docker_is_compact_and_has_one_digest() -> None:
    assert "comment" not in profile()
    assert "\n" not in profile()
    assert len(profile()) < 8000
    assert re.fullmatch("[0-9a-f]{64}", digest())
