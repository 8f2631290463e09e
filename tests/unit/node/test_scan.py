"""What the scan says of ordinary code: few and reasonable findings, the imports, words in two languages."""

from pathlib import Path

import pytest

from flame_fl.node.scan import MAX_PER_CATEGORY, Finding, Scan, scan, words
from flame_fl.node.scan_words import CATALOGUE, CATEGORIES, HEADINGS, MORE, MORE_FILES, RISKS, heading, risk_word
from flame_fl.node.shown import shown

ROOT = Path(__file__).parents[3]


def bundle(folder: str) -> dict[str, bytes]:
    root = ROOT / folder
    files = (file for file in root.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


def one(source: str, key: str) -> Finding:
    found = [finding for finding in scan({"app/a.py": source.encode()}).findings if finding.key == key]
    assert len(found) == 1
    return found[0]


def keys(source: str) -> set[str]:
    return {finding.key for finding in scan({"app/a.py": source.encode()}).findings}


def test_a_real_app_raises_few_alarms() -> None:
    """The use case deletes temporary folders and reads and writes files; nothing in it is of high risk."""
    result = scan(bundle("use_cases/methylation-age"))
    assert [f for f in result.findings if f.risk == "high"] == []
    assert {f.symbol for f in result.findings if f.risk == "medium"} <= {"shutil.rmtree"}
    assert len(result.findings) < 40
    assert result.parsed == sum(name.endswith(".py") for name in bundle("use_cases/methylation-age"))


@pytest.mark.parametrize("app", ["plain", "torch-toy", "images"])
def test_small_apps_raise_no_alarm(app: str) -> None:
    """Nothing of high risk is in them."""
    assert "high" not in {finding.risk for finding in scan(bundle(f"tests/integration/apps/{app}")).findings}


def test_an_app_that_starts_a_program_raises_one() -> None:
    """The toy app does so on purpose."""
    found = [f for f in scan(bundle("tests/integration/apps/toy")).findings if f.risk == "high"]
    assert [(f.key, f.path, f.symbol) for f in found] == [("subprocess.module", "toy/server_app.py", "os.system")]


def test_imports_are_sorted_into_kinds_with_the_files_that_import_them() -> None:
    """Own modules, the standard library, known libraries, and the rest, which comes first."""
    files = {"app/a.py": b"import json, torch.nn, app.b\nimport strange\n", "app/b.py": b"from json import loads\n"}
    assert [(i.name, i.kind, i.files) for i in scan(files).imports] == [
        ("strange", "other", ("app/a.py",)),
        ("torch", "known", ("app/a.py",)),
        ("app", "own", ("app/a.py",)),
        ("json", "standard library", ("app/a.py", "app/b.py")),
    ]


def test_a_relative_import_is_no_other_package() -> None:
    """`from .socket import x` is the app's own module."""
    result = scan({"app/a.py": b"from .socket import x\n"})
    assert (result.imports, result.findings) == ((), ())


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "import re\nre.compile('x')",
        "from re import compile\nx = 'literal_eval'",
        "import torch\ntorch.compile(m)\ntorch.load('m.pt', weights_only=True)",
        "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)\nyaml.safe_load(text)",
        "import numpy as np\nnp.load('x.npy', allow_pickle=False)",
        "import importlib.resources\nimportlib.resources.files('app')",
        "import os.path\nos.path.join('a', 'b')",
        "x = 'Prozess für Ärzte in Köln — 37 °C'",
        "größe = 1\nΔt = 2\nσ = 3\nµ = 4",
        "import torch\ntorch.backends.cudnn.deterministic = True",
        "def f():\n    '''See https://example.org/x and /etc/passwd.'''",
    ],
)
def test_ordinary_lines_raise_no_alarm(source: str) -> None:
    """What only looks like something dangerous, or is its safe form."""
    found = [f for f in scan({"app/a.py": source.encode()}).findings if f.risk != "low"]
    assert [f for f in found if f.key != "dynamic.execute" or "re import compile" not in source] == []


def test_a_finding_names_its_place_and_shows_its_line() -> None:
    """Path, line, symbol and source, in a sentence."""
    found = one("import os\n\n  \nif 1:\n    os.system('ls')\n", "subprocess.module")
    assert (found.path, found.line, found.snippet) == ("app/a.py", 5, "os.system('ls')")
    assert found.what == "Uses os.system, which starts other programs."
    assert words(found, "de") == "Benutzt os.system: startet andere Programme."


def test_a_snippet_is_short_and_around_the_place() -> None:
    """A place far to the right of a long line is shown, not the line's beginning."""
    found = one(f"x = {' + '.join(['1'] * 200)}; eval('y')", "dynamic.execute")
    assert len(found.snippet) <= 120
    assert "eval('y')" in found.snippet


def test_the_gravest_comes_first() -> None:
    """By risk, then by category, path and line."""
    result = scan({"b.py": b"open('x')\nimport socket\n", "a.py": b"import os\nos.environ\nimport socket\n"})
    assert [(f.risk, f.path) for f in result.findings] == [
        ("high", "a.py"),
        ("high", "b.py"),
        ("medium", "a.py"),
        ("low", "b.py"),
    ]


def test_many_of_a_kind_are_counted() -> None:
    """Of one category in one file the first few are shown; the others are a number."""
    found = scan({"a.py": b"eval('x')\n" * 50}).findings
    assert len(found) == MAX_PER_CATEGORY + 1
    assert (found[-1].key, found[-1].count, found[-1].risk) == ("dynamic.more", 40, "high")
    assert found[-1].what == "And 40 more of this kind in this file."


def test_many_files_of_a_kind_are_counted() -> None:
    """A bundle with two thousand data files does not make a list of two thousand."""
    found = scan({f"{i}.csv": b"1" for i in range(2000)}).findings
    assert len(found) == 201
    assert (found[-1].key, found[-1].count) == ("content.more_files", 1800)


def test_low_findings_do_not_crowd_out_grave_ones() -> None:
    """What is left out is the least risky."""
    files = {f"a{i:04}.py": b"open('x')\n" * 20 for i in range(500)} | {"z.py": b"open('/etc/shadow')\n"}
    assert scan(files).findings[0].key == "files.system"


def test_the_order_of_the_files_does_not_matter() -> None:
    """The same bundle, the same scan."""
    files = bundle("tests/integration/apps/toy")
    assert scan(files) == scan(dict(reversed(files.items())))


def test_nothing_has_nothing() -> None:
    """An empty bundle is no error."""
    assert scan({}) == Scan((), (), 0, 0)


@pytest.mark.parametrize("key", sorted(CATALOGUE))
def test_every_finding_has_words_in_both_languages(key: str) -> None:
    """A sentence that names the symbol, in English and German."""
    finding = Finding(key, CATALOGUE[key].risk, "a.py", 1, "SYMBOL")
    english, german = words(finding, "en"), words(finding, "de")
    assert "SYMBOL" in english
    assert "SYMBOL" in german
    assert english != german
    assert key.partition(".")[0] in CATEGORIES


def test_headings_and_risks_have_words_in_both_languages() -> None:
    """As have the sentences that stand for what was left out."""
    for category in HEADINGS:
        assert heading(category, "en")
        assert heading(category, "de")
        for kind in (MORE, MORE_FILES):
            finding = Finding(f"{category}.{kind}", "low", "", 0, "", count=7)
            assert "7" in words(finding, "en")
            assert "7 weitere" in words(finding, "de")
    assert {risk_word(risk, "de") for risk in RISKS} == {"hoch", "mittel", "gering"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Köln × 3 – σ", "Köln × 3 – σ"),
        ("a\x1b[2J\tb\n", "a\\u001b[2J\\u0009b\\u000a"),
        ("a\u202eb\u2066c\u200bd", "a\\u202eb\\u2066c\\u200bd"),
        ("\u3164\u2800\u00a0", "\\u3164\\u2800\\u00a0"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("a" + "\u0301" * 5, "a\u0301\u0301\\u0301\\u0301\\u0301"),
    ],
)
def test_shown_text_hides_and_moves_nothing(text: str, expected: str) -> None:
    """Letters stay; everything without a shape becomes its code point."""
    assert shown(text) == expected


@pytest.mark.parametrize("text", ["x" * 500, "\u202e" * 500, "x\u202e" * 50])
def test_shown_text_is_cut_between_characters(text: str) -> None:
    """Never in the middle of an escape, and never longer than asked."""
    cut = shown(text, 31)
    assert len(cut) <= 31
    assert cut.endswith("…")
    assert cut.count("\\") == cut.count("\\u202e")
