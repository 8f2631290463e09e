"""What a file shows without being parsed: its name, its first bytes, and the characters and lines of its text."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from flame_fl.node.scan_code import Hit
from flame_fl.node.scan_rules import INSTALLED
from flame_fl.node.shown import escape, visible

_LONG_LINE = 1000
_KINDS = {
    "native.file": "so pyd dll dylib exe pyc pyo o a wasm class bin elf",
    "pickle.file": "pkl pickle joblib pt pth ckpt dill npy npz h5 hdf5 keras rds rdata shelve marshal",
    "content.archive": "zip whl egg tar gz tgz bz2 xz 7z rar jar zst fab",
    "content.script": "sh bash ps1 bat cmd r jl js ts pl rb c cc cpp h hpp cu rs go pyx pxd java lua sql",
    "content.notebook": "ipynb",
}
_ENDINGS = {ending: key for key, endings in _KINDS.items() for ending in endings.split()}
_FIRST_BYTES = (
    (b"\x7fELF", "native.file", "ELF"),
    (b"MZ", "native.file", "Windows program"),
    (b"\0asm", "native.file", "WebAssembly"),
    *((magic, "native.file", "Mach-O") for magic in (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")),
    (b"PK\x03\x04", "content.archive", "zip"),
    (b"\x1f\x8b", "content.archive", "gzip"),
    (b"BZh", "content.archive", "bzip2"),
    (b"\xfd7zXZ", "content.archive", "xz"),
    *((b"\x80" + bytes([protocol]), "pickle.file", "pickle") for protocol in range(2, 6)),
    (b"\x93NUMPY", "pickle.file", "numpy"),
    (b"#!", "content.script", "#!"),
)
_STARTUP = frozenset({"sitecustomize", "usercustomize"})
_PROSE = frozenset(["md", "rst", "txt", "toml", "cfg", "ini", "license", "licence", "notice", "gitignore", "typed"])
_COOKIE = re.compile(r"[ \t\f]*#.{0,200}?coding[:=][ \t]*([-_.a-zA-Z0-9]{1,40})")
_PUSHED = re.compile(r"\S([ \t]{80,})[^\s#]")
_BIDI = frozenset(map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
_WORD = re.compile(r"[^\W\d]\w{0,200}")
# Letters of other scripts that look like a Latin one.
_TWINS = frozenset("аеорсухіјѕԁһԛԝкАВЕКМНОРСТХУІЈЅοονρυχικαΑΒΕΖΗΙΚΜΝΟΡΤΥΧ")


def is_python(path: str) -> bool:
    """Whether Python could import or run a file as source."""
    return path.lower().endswith((".py", ".pyw", ".pyi"))


def of_name(path: str) -> Iterator[Hit]:
    """What a path alone says: it hides an installed package, or runs when Python starts."""
    parts = PurePosixPath(path).parts
    top = parts[0] if len(parts) > 1 else re.split(r"\.", path, maxsplit=1)[0] if _importable(path) else ""
    if top in INSTALLED:
        yield Hit("process.shadow", 0, 0, top)
    if parts[-1].partition(".")[0] in _STARTUP or (path.lower().endswith(".pth") and len(parts) == 1):
        yield Hit("content.startup", 0, 0, parts[-1])


def of_content(path: str, raw: bytes) -> Iterator[Hit]:
    """What a file that is no Python source is."""
    name = PurePosixPath(path).name.lower()
    ending = name.rpartition(".")[2]
    size = f"{len(raw)} B"
    for magic, key, kind in _FIRST_BYTES:
        if raw.startswith(magic):
            yield Hit(key, 0, 0, f"{kind}, {size}")
            return
    if ending in _ENDINGS:
        yield Hit(_ENDINGS[ending], 0, 0, f".{ending}, {size}")
    elif b"\0" in raw[:8192]:
        yield Hit("content.binary", 0, 0, size)
    elif ending not in _PROSE:
        yield Hit("content.data", 0, 0, size)


def of_text(text: str, *, python: bool) -> Iterator[Hit]:
    """Characters and lines that mislead a reader. In files other than Python only what misleads in prose as well."""
    lines = text.split("\n")
    odd = {c for c in set(text[1:]) if _misleads(c)} | ({text[0]} if text and _misleads(text[0]) else set())
    odd -= {"\ufeff"} if text.startswith("\ufeff") and text.count("\ufeff") == 1 else set()
    if odd:
        pattern = re.compile("[" + re.escape("".join(sorted(odd))) + "]")
        for number, line in enumerate(lines, 1):
            if found := pattern.search(line):
                bidi = next((c for c in _BIDI & odd if c in line), None)
                key = "obfuscation.bidi" if bidi else "obfuscation.invisible"
                if python or bidi:
                    yield Hit(key, number, len(line[: found.start()].encode()), escape(bidi or found.group()))
    if not python:
        return
    for number, line in enumerate(lines[:2], 1):
        cookie = _COOKIE.match(line)
        if cookie and cookie.group(1).lower().replace("_", "-") not in {"utf-8", "utf8", "ascii", "us-ascii"}:
            yield Hit("obfuscation.encoding", number, 0, cookie.group(1))
    for number, line in enumerate(lines, 1):
        if len(line) > _LONG_LINE:
            yield Hit("obfuscation.long_line", number, 0, str(len(line)))
        if pushed := _PUSHED.search(line):
            yield Hit(
                "obfuscation.pushed_right", number, len(line[: pushed.end(1)].encode()), str(len(pushed.group(1)))
            )


def of_line_ends(text: str) -> Iterator[Hit]:
    """A carriage return alone: Python ends a line there, and some editors do not."""
    at = re.search(r"\r(?!\n)", text)
    if at:
        yield Hit("obfuscation.line_end", text.count("\n", 0, at.start()) + 1, 0, "\\r")


def of_names(text: str, names: Iterable[tuple[str, int, int]]) -> Iterator[Hit]:
    """Names of the program that look like others.

    Args:
        text: The source.
        names: Those in it that are not pure ASCII after Python's normalisation, with line and column.
    """
    for name, line, column in names:
        latin = [c for c in name if c.isascii() and c.isalpha()]
        foreign = [c for c in name if not c.isascii() and _script(c) not in {"LATIN", ""}]
        if len(name) > 1 and foreign and all(c in _TWINS for c in foreign):
            yield Hit(
                "obfuscation.lookalike", line, column, "".join(c if c.isascii() else escape(c) for c in name[:20])
            )
        elif latin and any(_script(c) != "GREEK" for c in foreign):
            yield Hit("obfuscation.mixed", line, column, name[:20])
    if text.isascii():
        return
    for number, source in enumerate(text.split("\n"), 1):
        if source.isascii():
            continue
        for word in _WORD.finditer(source):
            plain = unicodedata.normalize("NFKC", word.group())
            if plain != word.group() and plain.isascii():
                yield Hit("obfuscation.lookalike", number, len(source[: word.start()].encode()), plain[:40])


def _importable(path: str) -> bool:
    return path.lower().endswith((".py", ".pyw", ".pyc", ".so", ".pyd"))


def _misleads(character: str) -> bool:
    if character in "\n\t\f\r\ufe0f" or visible(character):
        return False
    return character in _BIDI or unicodedata.category(character) not in {"Zs", "Cn", "Co"}


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0] if character.isalpha() else ""
