"""The repository as files: what git tracks, and what its Python says of itself."""

import ast
import functools
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CORE = "flame_fl"
# distribution's folder -> import package; one Flower App per folder of use_cases/
PACKAGES = {ROOT: CORE, ROOT / "strategies": "flame_strategies", ROOT / "vetted": "flame_vetted"} | {
    p.parent: p.parent.name.replace("-", "_") for p in sorted(ROOT.glob("use_cases/*/pyproject.toml"))
}
USE_CASES = {folder: package for folder, package in PACKAGES.items() if folder.parent.name == "use_cases"}


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Every file that git tracks and that is there."""
    said = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return tuple(ROOT / name for name in said.split("\0") if name and (ROOT / name).is_file())


def sources(package: str = CORE) -> list[Path]:
    """The modules of a package, tracked or not."""
    (folder,) = [f for f, name in PACKAGES.items() if name == package]
    found = sorted((folder / package).rglob("*.py"))
    assert found, f"there is no package {package}"
    return found


@functools.cache
def parsed(file: Path) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(file: Path) -> Iterator[str]:
    """Dotted names of everything a module imports, wherever in it: "a.b" for `import a.b` and `from a import b`."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def short(path: Path) -> str:
    """A path as people write it."""
    return path.relative_to(ROOT).as_posix()


@functools.cache
def pyproject(folder: Path = ROOT) -> dict[str, Any]:
    """A distribution's pyproject.toml."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
