"""What the documents name exists: files, links, commands, options and make targets."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from flame_fl.cli import main
from tests.architecture.tree import CORE, ROOT, parsed, short, sources

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# the documents a person learns the commands from, and the use case's own
TAUGHT = [*DOCUMENTS, *sorted(ROOT.glob("use_cases/*/README.md"))]
CLI: Any = typer.main.get_command(main.cli)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def code_of(document: Path) -> Iterator[str]:
    """Every line of code in it, fenced or between backticks, without comments."""
    text = document.read_text(encoding="utf-8")
    for block in _FENCE.findall(text):
        yield from (line.partition("  #")[0].strip() for line in block.splitlines()[1:-1])
    yield from _CODE.findall(_FENCE.sub("", text))


def links() -> list[Any]:
    """(document, relative target) of every link and picture."""
    found = []
    for document in [*TAUGHT, *ROOT.glob("*.md"), ROOT / "deploy" / "README.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", document.read_text(encoding="utf-8"))):
            if not re.match(r"[a-z]+:", target):
                where = (short(document), target)
                found.append(pytest.param(document, target, id=": ".join(where)))
    return list({p.id: p for p in found}.values())


@pytest.mark.parametrize(("document", "target"), links())
def test_every_relative_link_leads_somewhere(document: Path, target: str) -> None:
    """To a file or folder of this repository; a fragment to a heading of it."""
    path, _, fragment = target.partition("#")
    file = (document.parent / path).resolve() if path else document
    assert file.exists()
    assert file.is_relative_to(ROOT)
    if fragment:
        headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert fragment in {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


class TestMake:
    MAKEFILE = (ROOT / "Makefile").read_text()
    TARGETS = frozenset(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    MODULES = frozenset(f"{m.replace('.', '/')}.py" for m in re.findall(r"-m (flame_fl[\w.]+)", MAKEFILE))

    @pytest.mark.parametrize("document", [*TAUGHT, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"], ids=short)
    def test_every_target_that_a_document_names_exists(self, document: Path) -> None:
        """`make demo`, `make test` and the others."""
        named = [word for line in code_of(document) for word in re.findall(r"\bmake ([a-z][a-z-]*)", line)]
        assert [word for word in named if word not in self.TARGETS] == []

    def test_the_readme_names_the_two_that_matter(self) -> None:
        """The search above finds something."""
        lines = list(code_of(ROOT / "README.md"))
        assert {"demo", "test"} <= {w for line in lines for w in re.findall(r"\bmake ([a-z][a-z-]*)", line)}

    def test_help_names_every_target(self) -> None:
        """But for itself, and for those that only the maintainers need."""
        helped = set(re.findall(r'@echo "make ([a-z-]+)', self.MAKEFILE))
        assert helped == self.TARGETS - {"help", "lock", "format"}

    def test_every_target_is_phony(self) -> None:
        """A folder called docs does not stop `make docs`."""
        (phony,) = re.findall(r"^\.PHONY:(.*)$", self.MAKEFILE, re.MULTILINE)
        assert set(phony.split()) == self.TARGETS

    @pytest.mark.parametrize("path", sorted({*re.findall(r"python ([\w/]+\.py)", MAKEFILE), *MODULES}))
    def test_every_program_that_a_target_runs_exists(self, path: str) -> None:
        """Scripts and modules of this repository."""
        assert (ROOT / path).is_file()


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words call, and the words it does not use for that."""
    command, rest = CLI, list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"there is no command {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    return command, rest


def options_of(command: Any) -> set[str]:
    """What it understands, the options of `flame` itself included."""
    own = {
        name
        for c in (command, CLI)
        for p in c.params
        for kind in ("opts", "secondary_opts")
        for name in getattr(p, kind, ())
    }
    return {name for name in own if name.startswith("-")} | {"--help"}


def calls(document: Path) -> list[str]:
    """Calls of flame in it; "a|b" stands for two."""
    found = []
    for line in code_of(document):
        for text in re.findall(r"(?:^|[`( ])flame ((?:[a-z-]).*)$", line):
            first, *more = re.split(r"\s+", text)
            alternatives = [w.split("|") for w in (first, *more)]
            where = next((i for i, w in enumerate(alternatives) if len(w) > 1 and not w[0].startswith("-")), None)
            if where is None:
                found.append(" ".join((first, *more)))
            else:
                words = [first, *more]
                found += [" ".join([*words[:where], choice, *words[where + 1 :]]) for choice in alternatives[where]]
    return found


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that is no group."""
    if not hasattr(command, "commands"):
        yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*path, name))


class TestFlame:
    @pytest.mark.parametrize(
        ("document", "call"),
        [pytest.param(d, c, id=f"{short(d)}: flame {c}") for d in TAUGHT for c in dict.fromkeys(calls(d))],
    )
    def test_every_call_that_a_document_shows_is_understood(self, document: Path, call: str) -> None:
        """Its command exists, and has each option."""
        command, rest = command_of(call.split())
        options = [w.partition("=")[0] for w in rest if re.match(r"--?[a-z]", w)]
        assert [name for name in options if name not in options_of(command)] == []

    @pytest.mark.parametrize("document", TAUGHT, ids=short)
    def test_every_option_that_a_document_names_alone_is_one_of_some_command(self, document: Path) -> None:
        """As in "`--deny DIZ-2` makes one DIZ reject"."""

        def every(command: Any) -> set[str]:
            inner = getattr(command, "commands", {}).values()
            return options_of(command).union(*(every(c) for c in inner))

        named = [line.split()[0] for line in code_of(document) if re.match(r"--[a-z]", line)]
        # of `python -m APP`, in an app's own README
        tools = document.parent.glob("*/*.py") if document.parent.parent.name == "use_cases" else ()
        own = {name for tool in tools for name in re.findall(r'"(--[a-z-]+)"', tool.read_text(encoding="utf-8"))}
        assert [name for name in named if name not in every(CLI) | own] == []

    def test_the_readme_shows_calls(self) -> None:
        """The search above finds something."""
        assert len(calls(ROOT / "README.md")) >= 6

    @pytest.mark.parametrize("path", leaves(CLI), ids=" ".join)
    def test_every_command_is_shown_by_a_document(self, path: tuple[str, ...]) -> None:
        """In README.md, docs/ or the use case's README."""
        shown = [call.split()[: len(path)] for d in TAUGHT for call in calls(d)]
        assert list(path) in shown


def table_rows() -> list[tuple[str, str, str]]:
    """(number, where, tests) of the table of statements in the threat model."""
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    return re.findall(r"^\| (\d+) \|.*\| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)


class TestTheThreatModel:
    def test_has_its_statements_numbered(self) -> None:
        """The search below finds them all."""
        assert [int(number) for number, *_ in table_rows()] == list(range(1, len(table_rows()) + 1))
        assert len(table_rows()) >= 12

    @pytest.mark.parametrize(("number", "where", "tests"), table_rows())
    def test_a_statement_is_kept_by_files_that_exist(self, number: str, where: str, tests: str) -> None:
        """Below flame_fl/."""
        files = _CODE.findall(where)
        assert files
        assert [name for name in files if not (ROOT / CORE / name).is_file()] == []

    @pytest.mark.parametrize(("number", "where", "tests"), table_rows())
    def test_a_statement_is_tested_by_tests_that_exist(self, number: str, where: str, tests: str) -> None:
        """Below tests/: a file with tests, or a folder of them."""
        names = _CODE.findall(tests)
        assert names
        for name in names:
            path = ROOT / "tests" / name
            files = sorted(path.glob("test_*.py")) if name.endswith("/") else [path]
            assert files
            assert [f for f in files if "def test_" not in f.read_text()] == []


def named_paths() -> list[Any]:
    """(file, path it names) of every path in a document, or in a docstring of the core."""
    pattern = re.compile(r"`?((?:[\w-]+/)+[\w.-]+\.(?:py|md|json|toml|txt|jinja|css|png|R))\b`?")
    texts = [(d, _FENCE.sub("", d.read_text(encoding="utf-8"))) for d in [*TAUGHT, ROOT / "SECURITY.md"]]
    texts += [(f, text) for f in sources() for text in _docstrings(f)]
    found = {(short(file), path) for file, text in texts for path in pattern.findall(re.sub(r"\]\([^)]*\)", "", text))}
    return [
        pytest.param(*x, id=": ".join(x))
        for x in sorted(found)
        if "NAME" not in x[1] and "http" not in x[1] and x[1].partition("/")[0] not in {"RUN", "DATA", "dist"}
    ]


def _docstrings(file: Path) -> Iterator[str]:
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


@pytest.mark.parametrize(("file", "path"), named_paths())
def test_every_path_that_a_text_names_exists(file: str, path: str) -> None:
    """From the root, from flame_fl/ or tests/, or from beside the text."""
    homes = (ROOT, ROOT / CORE, ROOT / "tests", (ROOT / file).parent)
    assert [home for home in homes if (home / path).exists()]
