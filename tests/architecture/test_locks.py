"""What is installed is locked, and what is imported is asked for."""

import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.architecture.tree import PACKAGES, ROOT, imports, pyproject, short, sources

OURS = {canonicalize_name(pyproject(folder)["project"]["name"]) for folder in PACKAGES}
EXTRAS = sorted(pyproject()["project"]["optional-dependencies"])


def lines(file: str) -> list[str]:
    """A requirements file without comments."""
    return [x for x in (raw.partition("#")[0].strip() for raw in (ROOT / file).read_text().splitlines()) if x]


def pins() -> dict[str, str]:
    """Locked version by name."""
    locked = [line.split("==") for line in lines("constraints.txt")]
    return {canonicalize_name(name): version for name, version in locked}


def stated(folder: Path, extra: str | None = None) -> list[Requirement]:
    """What a distribution, or one of its extras, asks for from others."""
    project = pyproject(folder)["project"]
    asked = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return [r for r in map(Requirement, asked) if canonicalize_name(r.name) not in OURS]


def needed() -> list[Any]:
    """Every requirement of every distribution and extra."""
    wanted = [(folder, None) for folder in PACKAGES] + [(ROOT, extra) for extra in EXTRAS]
    return [
        pytest.param(r, id=f"{short(folder) if folder != ROOT else extra or 'core'}: {r.name}")
        for folder, extra in wanted
        for r in stated(folder, extra)
    ]


def installed_closure() -> Iterator[str]:
    """Names of everything that the requirements bring with them on this Python."""
    todo, seen = [p.values[0] for p in needed()], set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if (name, str(requirement.extras)) in seen:
            continue
        seen.add((name, str(requirement.extras)))
        yield name
        try:
            asked = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of an extra that is installed only when it is used
            continue
        for text in asked:
            inner = Requirement(text)
            marker = inner.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *requirement.extras)):
                todo.append(inner)


class TestConstraints:
    @pytest.mark.parametrize("file", ["constraints.txt", "requirements-data.txt"])
    def test_pin_one_version_each(self, file: str) -> None:
        """With ==, and each name once."""
        names = [re.fullmatch(r"([A-Za-z0-9._-]+)==[A-Za-z0-9.!+]+", line) for line in lines(file)]
        assert [line for line, match in zip(lines(file), names, strict=True) if match is None] == []
        plain = [canonicalize_name(match[1]) for match in names if match]
        assert len(plain) == len(set(plain))

    @pytest.mark.parametrize("requirement", needed())
    def test_pin_what_is_asked_for_in_the_range_it_is_asked_in(self, requirement: Requirement) -> None:
        """Core, extras, strategies and use cases."""
        assert canonicalize_name(requirement.name) in pins()
        assert pins()[canonicalize_name(requirement.name)] in requirement.specifier

    @pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="constraints.txt is compiled on Python 3.11")
    def test_pin_what_those_bring_with_them(self) -> None:
        """Nothing is installed in a version that nobody chose."""
        assert sorted(set(installed_closure()) - set(pins())) == []

    @pytest.mark.parametrize(("name", "version"), [("torch", "2.13.0"), ("flwr", "1.41.0")])
    def test_pin_the_two_that_everything_rests_on(self, name: str, version: str) -> None:
        """The versions this was tried with."""
        assert pins()[name] == version

    def test_are_what_the_tests_run_with(self) -> None:
        """A green test speaks for the locked versions; a local label such as +cpu is the same version."""
        there = {canonicalize_name(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}
        names = set(installed_closure()) & set(pins()) & set(there)
        assert {"numpy", "flwr", "pydantic"} <= names
        assert {n: Version(there[n]).public for n in names} == {n: Version(pins()[n]).public for n in names}

    def test_pin_the_data_packages_in_the_same_version_as_their_own_list(self) -> None:
        """requirements-data.txt is installed without dependencies, after the rest."""
        data = dict(line.split("==") for line in lines("requirements-data.txt"))
        assert {name: pins().get(canonicalize_name(name), version) for name, version in data.items()} == data


def foreign_imports() -> list[Any]:
    """(package, module from elsewhere) of every package."""
    ours = set(PACKAGES.values())
    found = {
        (package, name.partition(".")[0])
        for package in PACKAGES.values()
        for file in sources(package)
        for name in imports(file)
        if name.partition(".")[0] not in sys.stdlib_module_names | ours
    }
    return [pytest.param(*x) for x in sorted(found)]


@pytest.mark.parametrize(("package", "module"), foreign_imports())
def test_what_is_imported_is_asked_for(package: str, module: str) -> None:
    """By the distribution that imports it, in its dependencies or an extra: another's dependency may go away."""
    (folder,) = [f for f, name in PACKAGES.items() if name == package]
    extras = pyproject(folder)["project"].get("optional-dependencies", {})
    asked = stated(folder) + [r for extra in extras for r in stated(folder, extra)]
    provided = importlib.metadata.packages_distributions().get(module, [])
    assert {canonicalize_name(r.name) for r in asked} & {canonicalize_name(d) for d in provided}
