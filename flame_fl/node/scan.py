"""What a steward is told about an analysis' code: what it imports, and which lines deserve a look.

An aid, not a guarantee. Whoever wants to hide something from a scan of source text can: code may be built while it
runs, and a harmless line may do harm. What confines an app is the sandbox, and what leaves is decided by the release
contract; nothing here decides anything.

The files are hostile and are read in the node's own process. So nothing is imported or run, sizes and counts are
bounded, a file that cannot be parsed is a finding and never an error, and text is escaped before it is returned. The
same files always give the same findings in the same order. A call may take seconds: a server makes it in a thread.
"""

import ast
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from flame_fl.node.scan_code import Hit, Reader
from flame_fl.node.scan_files import is_python, of_content, of_line_ends, of_name, of_names, of_text
from flame_fl.node.scan_names import MAX_NAME_PARTS, overlong_name
from flame_fl.node.scan_rules import KNOWN, STANDARD
from flame_fl.node.scan_words import CATALOGUE, CATEGORIES, MORE, MORE_FILES, RISKS, Language, Risk, sentence
from flame_fl.node.shown import shown

MAX_PARSED_BYTES = 256 * 1024  # of one file; the parser needs up to 600 times as much memory
MAX_ALL_PARSED_BYTES = 1 * 1024 * 1024
MAX_ALL_TEXT_BYTES = 8 * 1024 * 1024  # of files other than Python
MAX_PER_CATEGORY = 10  # findings of one category in one file
MAX_OF_CATEGORY = 200  # in all files together
MAX_IMPORTS = 300
MAX_FILES_OF_IMPORT = 20
SNIPPET_CHARS = 120

Kind = Literal["own", "standard library", "known", "other"]


@dataclass(frozen=True)
class Import:
    """A top-level module that is imported; `files`: by which, the first few."""

    name: str
    kind: Kind
    files: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """One place that deserves a look, or, with a `count`, how many more there are like it."""

    key: str
    """Stable; `scan_words` has the sentences."""
    risk: Risk
    path: str
    line: int
    """From 1; 0 for the file as a whole."""
    symbol: str
    snippet: str = ""
    """The source line, around the place if it is long."""
    count: int = 0

    @property
    def category(self) -> str:
        """What it is about: one of `scan_words.CATEGORIES`."""
        return self.key.partition(".")[0]

    @property
    def what(self) -> str:
        """The finding in one English sentence."""
        return words(self, "en")


@dataclass(frozen=True)
class Scan:
    """Everything that was found. Every text in it can be shown as it is."""

    imports: tuple[Import, ...]
    findings: tuple[Finding, ...]
    """The gravest first."""
    files: int
    parsed: int
    """Python files that were read; those that were not are findings."""


def scan(files: Mapping[str, bytes]) -> Scan:
    """Look through a bundle's files. Raises nothing, whatever they are."""
    imports: defaultdict[str, list[str]] = defaultdict(list)
    found: list[Finding] = []
    room, text_room, parsed = MAX_ALL_PARSED_BYTES, MAX_ALL_TEXT_BYTES, 0
    for path in sorted(files):
        raw = files[path]
        hits = list(of_name(path))
        lines: list[str] = []
        if is_python(path):
            if len(raw) > min(room, MAX_PARSED_BYTES):
                hits.append(Hit("unread.too_large", 0, 0, f"{len(raw)} B"))
            else:
                room -= len(raw)
                more, names, lines = _python(raw)
                hits += more
                parsed += names is not None
                for name in names or ():
                    imports[name].append(path)
        else:
            hits += of_content(path, raw)
            start = raw[: min(text_room, MAX_PARSED_BYTES)]
            text_room -= len(start)
            if b"\0" not in start:
                text = start.decode(errors="replace")
                lines = text.split("\n")
                hits += of_text(text, python=False)
        found += _findings(path, hits, lines)
    return Scan(_imports(imports, files), tuple(_capped(found)), len(files), parsed)


def words(finding: Finding, language: Language) -> str:
    """A finding as a sentence, in English ("en") or German ("de")."""
    return sentence(finding.key, finding.symbol, finding.count, language)


def _python(raw: bytes) -> tuple[list[Hit], Iterable[str] | None, list[str]]:
    """Hits, top-level imports (None if it could not be parsed), and the lines as Python counts them."""
    hits: list[Hit] = []
    try:
        text = raw.decode()
    except UnicodeDecodeError as err:
        text = raw.decode("latin-1")
        hits.append(Hit("obfuscation.encoding", raw.count(b"\n", 0, err.start) + 1, 0, "no UTF-8"))
    hits += of_line_ends(text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    hits += of_text(text, python=True)
    text = text.removeprefix("\ufeff")
    if overlong_name(text):
        return [*hits, Hit("unread.name", 0, 0, str(MAX_NAME_PARTS))], None, lines
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes: the app's business
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as err:
        line = err.lineno or 0 if isinstance(err, SyntaxError) else 0
        return [*hits, Hit("unread.syntax", line, 0, type(err).__name__)], None, lines
    reader = Reader(tree)
    hits += reader.hits()
    hits += of_names(text, reader.identifiers())
    return hits, reader.imports, lines


def _findings(path: str, hits: Iterable[Hit], lines: list[str]) -> list[Finding]:
    """One finding for each key and line, and not too many of a category."""
    first: dict[tuple[str, int], Hit] = {}
    for hit in hits:
        first.setdefault((hit.key, hit.line), hit)
    by_category: defaultdict[str, list[Hit]] = defaultdict(list)
    for hit in sorted(first.values(), key=lambda h: (RISKS.index(CATALOGUE[h.key].risk), h.line, h.key)):
        by_category[hit.key.partition(".")[0]].append(hit)
    found: list[Finding] = []
    for category, several in by_category.items():
        for hit in several[:MAX_PER_CATEGORY]:
            line = lines[hit.line - 1] if 0 < hit.line <= len(lines) else ""
            risk = CATALOGUE[hit.key].risk
            found.append(
                Finding(hit.key, risk, shown(path), hit.line, shown(hit.what, 120), _snippet(line, hit.column))
            )
        if left := several[MAX_PER_CATEGORY:]:
            risk = CATALOGUE[left[0].key].risk
            found.append(Finding(f"{category}.{MORE}", risk, shown(path), 0, "", count=len(left)))
    return found


def _snippet(line: str, column: int) -> str:
    """A line around a column in bytes, without its indentation."""
    if len(line) > SNIPPET_CHARS:
        start = len(line.encode("utf-8", "replace")[:column].decode(errors="ignore"))
        if start > SNIPPET_CHARS // 2:
            return shown("…" + line[start - 20 :][: SNIPPET_CHARS + 1], SNIPPET_CHARS)
    return shown(line.strip(" \t"), SNIPPET_CHARS)


def _capped(found: list[Finding]) -> list[Finding]:
    """The gravest first, and of each category no more than a person would read."""

    def rank(finding: Finding) -> tuple[int, int, str, bool, int, str]:
        return (
            RISKS.index(finding.risk),
            CATEGORIES.index(finding.category),
            finding.path,
            bool(finding.count),
            finding.line,
            finding.key,
        )

    kept: list[Finding] = []
    left: dict[str, Finding] = {}
    room = dict.fromkeys(CATEGORIES, MAX_OF_CATEGORY)
    for finding in sorted(found, key=rank):
        category = finding.category
        room[category] -= 1
        if room[category] >= 0:
            kept.append(finding)
            continue
        before = left.get(category)
        count = (before.count if before else 0) + (finding.count or 1)
        left[category] = Finding(
            f"{category}.{MORE_FILES}", before.risk if before else finding.risk, "", 0, "", count=count
        )
    return sorted(
        [*kept, *left.values()], key=lambda f: (RISKS.index(f.risk), CATEGORIES.index(f.category), not f.path)
    )


def _imports(imports: Mapping[str, list[str]], files: Mapping[str, bytes]) -> tuple[Import, ...]:
    own = {path.partition("/")[0].removesuffix(".py") for path in files if is_python(path)}
    order: tuple[Kind, ...] = ("other", "known", "own", "standard library")

    def kind(name: str) -> Kind:
        if name in own:
            return "own"
        return "standard library" if name in STANDARD else "known" if name in KNOWN else "other"

    named = [
        Import(shown(name, 80), kind(name), tuple(map(shown, paths[:MAX_FILES_OF_IMPORT])))
        for name, paths in imports.items()
    ]
    return tuple(sorted(named, key=lambda i: (order.index(i.kind), i.name))[:MAX_IMPORTS])
