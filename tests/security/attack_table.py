"""Collects what the attacks declare, without running them, and writes `docs/attacks.md`.

python -m tests.security.attack_table
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "attacks.md"
DECLARED = {
    "The network": "tests/security/docker/test_network_attacks.py",
    "Files": "tests/security/docker/test_file_attacks.py",
    "Resources, time, and staying": "tests/security/docker/test_resource_attacks.py",
    "Carrying data out": "tests/security/docker/test_gate_attacks.py",
}
# these speak for themselves: a test's name says what holds, a list's keys say what is tried
NAMED = {
    "tests/security/test_attacks_from_the_sandbox.py": "What an app's answer may hold, in any sandbox",
    "tests/security/test_attacks_from_the_hub.py": "A hub that means harm",
    "tests/security/test_secagg_attacks.py": "Masked sums: the hub, its colluders, and sites that disturb",
    "tests/security/test_masked_gate_attacks.py": "Masked sums at real gates: other questions, other sets of sites",
    "tests/security/test_second_moment_attacks.py": "Second moments: what a hub can and cannot read of patients",
    "tests/security/test_disclosure_attacks.py": "Questions that single a patient out (disclosure control)",
    "tests/security/test_smuggler.py": "An app that carries patients out (differential privacy)",
    "tests/security/test_hostile_bundles.py": "Bundles",
    "tests/security/test_mutations.py": "Whatever an approval binds, changed (docs/mutations.md)",
    "tests/security/test_scan.py": "Hostile code, and what a steward is told of it",
    "tests/security/test_audit.py": "The audit chain: with the state file, with the node's key, as the hub",
    "tests/security/test_web.py": "The stewards' page",
    "tests/security/test_data_stores.py": "Data stores: terms, files, withdrawals",
    "tests/unit/sandbox/test_attacks.py": "A worker that breaks the protocol (subprocess sandbox)",
}
LISTS = ("ATTACKS", "GARBAGE", "SLOW")
HEAD = """# Attacks, and what holds

Generated from the tests by `python -m tests.security.attack_table`; a test checks that it is up to date. Every row is a
test that makes the attack and fails if it succeeds. Those of the first part run a hostile app in the real Docker
sandbox, behind a real gate (`pytest tests/security/docker`, with a Docker Engine). Where an attack could fail for
another reason than the one named, a control beside it shows that the same code succeeds where that reason is missing.

## What is not claimed

- A container shares the host's kernel. A flaw in a system call that is allowed is not held by anything here;
  `runtime = "runsc"` (gVisor) puts another kernel between, where it is installed.
- Without an enforced privacy claim the release contract bounds form, not meaning: numbers within their ranges can carry
  anything (docs/threat-model.md).
- Time, processor caches and the host's load can be measured from inside, and used as a channel between sandboxes on one
  machine. How long an answer takes leaves the node.
- An app's threads go on between messages, within its limits, until the run ends.
- The node's own logs hold what an app printed and, in a refusal's detail, names that it chose: who may read these logs
  may read patients' data. None of it leaves with an answer.
"""


def load(file: str) -> ModuleType:
    """Import a test's module."""
    return importlib.import_module(file.removesuffix(".py").replace("/", "."))


def tests_of(module: ModuleType) -> Iterator[tuple[str, Callable[..., None]]]:
    """Its tests, in the order of the file."""
    found = [(n, t) for n, t in vars(module).items() if n.startswith("test_") and inspect.isfunction(t)]
    yield from sorted(
        ((n, t) for n, t in found if t.__module__ == module.__name__), key=lambda item: item[1].__code__.co_firstlineno
    )


def declared(file: str) -> list[tuple[str, str, str]]:
    """(test, tried, held) of a file's attacks."""
    return [(name, *test.declared) for name, test in tests_of(load(file)) if hasattr(test, "declared")]


def sentence(name: str) -> str:
    """A test's name as people say it."""
    return name.removeprefix("test_").replace("_", " ")


def document() -> str:
    """The whole text of `docs/attacks.md`."""
    parts = [HEAD, "## An app in a container, against the Docker sandbox and the gate\n"]
    for title, file in DECLARED.items():
        parts.append(f"### {title}\n\nIn `{file}`.\n\n| tried | what holds | test |\n|---|---|---|")
        parts += [f"| {cell(tried)} | {cell(held)} | `{name}` |" for name, tried, held in declared(file)]
        parts.append("")
    parts.append(_families())
    parts.append("## Independent of containers\n")
    for file, title in NAMED.items():
        module = load(file)
        parts.append(f"### {title}\n\nIn `{file}`. What holds:\n")
        parts += [f"- {cell(sentence(name))}" for name, _ in tests_of(module)]
        for tried in (getattr(module, name, {}) for name in LISTS):
            parts += ["\nTried:\n", *(f"- {cell(key)}" for key in tried)] if tried else []
        parts.append("")
    return "\n".join(parts).rstrip("\n") + "\n"


def _families() -> str:
    file = "tests/security/docker/test_seccomp_families.py"
    lines = [
        f"### System calls\n\nIn `{file}`. Each is refused by `flame_fl/sandbox/seccomp.json`;",
        "without it the kernel lets the same call with the same arguments through, or says something else.",
        "\n| family | calls |\n|---|---|",
    ]
    lines += [f"| {cell(family)} | {cell(', '.join(calls))} |" for family, calls in load(file).FAMILIES.items()]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text for a cell: one line, no bar."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
