"""Hostile bundles before the scan: each trick of a catalogue is found at its line, and nothing stops or slows it."""

import pickle
import time

import pytest

from flame_fl.node.scan import MAX_PARSED_BYTES, scan
from flame_fl.node.scan_words import CATALOGUE

# (key, source): the marked line, or the only one, is where it is found.
TRICKS = [
    ("subprocess.module", "import subprocess as sp\nsp.run(['id'])  # <-"),
    ("subprocess.module", "from os import system as s  # <-\n"),
    ("subprocess.module", "import os\n\nos.popen('id')  # <-"),
    ("subprocess.module", "import os\nf = os.execv  # <-"),
    ("subprocess.module", "import os\ng = os\nh = g\nh.system('id')  # <-"),
    ("subprocess.module", "import os\ngetattr(os, 'system')('id')  # <-"),
    ("subprocess.module", "import os\ngetattr(os, 'sys' + 'tem')('id')  # <-"),
    ("subprocess.module", "__import__('os').system('id')  # <-"),
    ("subprocess.module", "import importlib\nm = importlib.import_module('os')\nm.system('id')  # <-"),
    ("subprocess.module", "from importlib import import_module as im\nim('subprocess').run('id')  # <-"),
    ("subprocess.module", "import sys\nsys.modules['os'].system('id')  # <-"),
    ("subprocess.module", "import os\nvars(os)['system']('id')  # <-"),
    ("subprocess.module", "import os\nos.__dict__['system']('id')  # <-"),
    ("subprocess.module", "from os import *\nsystem('id')  # <-"),
    ("subprocess.module", "import os\ndef f(run=os.system):  # <-\n    pass"),
    ("subprocess.module", "import os\n(x := os).system('id')  # <-"),
    ("subprocess.shell", "import x\nx.run('id', shell=True)  # <-"),
    ("network.module", "import socket  # <-\n"),
    ("network.module", "from urllib import request as r  # <-\n"),
    ("network.module", "import urllib\nurllib.request.urlopen(u)  # <-"),
    ("network.module", "import torch\ntorch.hub.load('a', 'b')  # <-"),
    ("network.module", "def f():\n    import http.client as h  # <-"),
    ("network.address", "import pandas as pd\npd.read_csv('https://evil.example/x.csv')  # <-"),
    ("network.ip", "a = ('10.0.0.1', 80)"),
    ("dynamic.execute", "eval('1')"),
    ("dynamic.execute", "e = exec  # <-\n"),
    ("dynamic.execute", "import builtins\nbuiltins.exec('1')  # <-"),
    ("dynamic.execute", "__builtins__['eval']('1')"),
    ("dynamic.execute", "globals()['eval']('1')"),
    ("dynamic.execute", "from builtins import eval as harmless  # <-\n"),
    ("dynamic.execute", "\U0001d4ee\U0001d4ff\U0001d4ea\U0001d4f5('1')"),
    ("dynamic.import_computed", "__import__(name)"),
    ("dynamic.import_computed", "import importlib as i\ni.import_module(''.join(x))  # <-"),
    ("dynamic.getattr_module", "import os\ngetattr(os, name)('id')  # <-"),
    ("dynamic.getattr", "import functools\nfunctools.reduce(getattr, names, x)  # <-"),
    ("dynamic.internals", "().__class__.__base__.__subclasses__()"),
    ("dynamic.internals", "getattr(f, '__globals__')"),
    ("dynamic.text", "name = '__globals__'"),
    ("dynamic.loader", "import runpy  # <-\n"),
    ("dynamic.loader", "import types\ntypes.FunctionType(c, {})  # <-"),
    ("pickle.module", "import pickle  # <-\n"),
    ("pickle.module", "from joblib import load  # <-\n"),
    ("pickle.module", "import pandas as pd\npd.read_pickle('x')  # <-"),
    ("pickle.torch", "import torch as t\nt.load('x')  # <-"),
    ("pickle.torch", "import torch\ntorch.load('x', weights_only=False)  # <-"),
    ("pickle.numpy", "import numpy as np\nnp.load('x', allow_pickle=True)  # <-"),
    ("pickle.numpy", "from numpy import load\nload('x', None, True)  # <-"),
    ("pickle.yaml", "import yaml\nyaml.load(text)  # <-"),
    ("pickle.yaml", "import yaml\nyaml.load(text, yaml.Loader)  # <-"),
    ("pickle.hook", "class A:\n    def __reduce__(self):  # <-\n        pass"),
    ("native.module", "from ctypes import CDLL  # <-\n"),
    ("native.module", "import torch\ntorch.ops.load_library('x.so')  # <-"),
    ("obfuscation.decoded", "import base64\nexec(base64.b64decode(x))  # <-"),
    ("obfuscation.decoded", "exec(bytes.fromhex(x).decode())"),
    ("obfuscation.decoded", "eval(''.join(chr(c) for c in x))"),
    ("obfuscation.literal", "x = '" + "aGVsbG8gd29ybGQh" * 20 + "'"),
    ("obfuscation.literal", "x = b'" + "\\x8f\\x01" * 60 + "'"),
    ("obfuscation.numbers", "x = [" + "101, " * 120 + "]"),
    ("obfuscation.long_line", "\nx = 1" + " + 1" * 400 + "  # <-"),
    ("obfuscation.pushed_right", "x = 1" + " " * 100 + "; import os"),
    ("obfuscation.bidi", "a = 1\n# \u202e harmless \u2066  # <-"),
    ("obfuscation.invisible", "x = 'a\u200bb'"),
    ("obfuscation.lookalike", "\nimp\u043ert = 1  # <-"),
    ("obfuscation.lookalike", "\U0001d4ee\U0001d4ff\U0001d4ea\U0001d4f5('1')"),
    ("obfuscation.mixed", "data\u4e2d = 1"),
    ("obfuscation.encoding", "# -*- coding: utf-7 -*-  # <-\n"),
    ("obfuscation.line_end", "# harmless\rimport os"),
    ("process.modules", "import sys\nsys.modules['flwr'] = x  # <-"),
    ("process.modules", "import sys\nsys.path.insert(0, 'x')  # <-"),
    ("process.patch_core", "import flwr.client as c\nc.ClientApp = x  # <-"),
    ("process.patch_core", "import flame_fl\nsetattr(flame_fl, 'x', y)  # <-"),
    ("process.patch", "import torch\ntorch.nn.Linear = x  # <-"),
    ("process.environment", "import os\nos.environ['X'] = '1'  # <-"),
    ("process.control", "import atexit  # <-\n"),
    ("process.control", "from multiprocessing import Process  # <-\n"),
    ("process.flower", "from flwr.supercore import x  # <-\n"),
    ("files.system", "open('/etc/passwd')"),
    ("files.system", "p = '~/.ssh/id_ed25519'"),
    ("files.absolute", "open('/tmp/x', 'w')"),
    ("files.delete", "import shutil\nshutil.rmtree(x)  # <-"),
    ("files.write", "from pathlib import Path\nPath(x).open('wb')  # <-"),
    ("files.write", "open(x, mode)"),
    ("files.read", "x.read_text()"),
    ("unread.syntax", "print 'x'"),
    ("unread.syntax", "\nx = '\0'"),
]

# (key, path, content)
FILES = [
    ("native.file", "app/x.so", b"\x7fELF\x02"),
    ("native.file", "app/x.txt", b"\x7fELF\x02"),
    ("native.file", "app/__pycache__/x.pyc", b"\xa7\r\r\n"),
    ("pickle.file", "app/model.pkl", b""),
    ("pickle.file", "app/model.json", pickle.dumps({"a": 1})),
    ("pickle.file", "app/weights.pth", b"x"),
    ("content.archive", "app/x.json", b"PK\x03\x04"),
    ("content.archive", "lib.whl", b""),
    ("content.startup", "sitecustomize.py", b""),
    ("content.startup", "x.pth", b"import os"),
    ("content.script", "run.sh", b"id"),
    ("content.script", "run", b"#!/bin/sh\nid"),
    ("content.notebook", "x.ipynb", b"{}"),
    ("content.binary", "x.dat", b"a\0b"),
    ("content.data", "x.csv", b"1,2"),
    ("process.shadow", "torch/__init__.py", b""),
    ("process.shadow", "numpy.py", b""),
    ("process.shadow", "flwr/client/x.txt", b""),
    ("process.shadow", "json.py", b""),
    ("process.shadow", "numpy.cpython-311-x86_64-linux-gnu.so", b""),
    ("obfuscation.encoding", "app/a.py", b"x = '\xff'"),
    ("obfuscation.bidi", "README.md", "a\u202eb".encode()),
    ("unread.too_large", "app/a.py", b"#" * (MAX_PARSED_BYTES + 1)),
]


@pytest.mark.parametrize(("key", "source"), TRICKS)
def test_a_trick_is_found_at_its_line(key: str, source: str) -> None:
    """Aliases, computed names, decoding and disguise, each in a file between others."""
    lines = source.replace("\r", "\n").split("\n")
    expected = next((number for number, line in enumerate(lines, 1) if "# <-" in line), 1 if len(lines) == 1 else None)
    found = [f for f in scan({"app/a.py": source.encode(), "app/b.py": b"x = 1"}).findings if f.key == key]
    assert found
    assert all(f.path == "app/a.py" and f.risk == CATALOGUE[key].risk for f in found)
    if expected is not None:
        assert expected in {f.line for f in found}
    assert all(f.snippet.isascii() or "\u202e" not in f.snippet for f in found)


@pytest.mark.parametrize(("key", "path", "content"), FILES)
def test_a_file_is_found_by_its_name_or_content(key: str, path: str, content: bytes) -> None:
    """A name does not hide what a file is."""
    assert key in {f.key for f in scan({path: content}).findings if f.path == path}


N = 100_000
BOMBS = {
    "parentheses": "(" * N + ")" * N,
    "brackets": "[" * N,
    "unary operators": "-" * N + "1",
    "not": "not " * (N // 2) + "1",
    "attributes": "a" + ".b" * N,
    "attributes of calls": "a" + ".b()" * (N // 2),
    "binary operators": "1" + "+1" * N,
    "powers": "2" + "**2" * (N // 2),
    "calls": "f" + "()" * N,
    "subscripts": "a" + "[0]" * (N // 2),
    "lambdas": "lambda:" * (N // 3) + "1",
    "conditions": "1 if 1 else " * (N // 8) + "1",
    "elif": "if 1: pass\n" + "elif 1: pass\n" * (N // 8),
    "an import of many parts": "import a" + ".a" * N,
    "an import of many parts with spaces": "import a" + " . a" * (N // 2),
    "an import of many parts on many lines": "import a" + ".\\\na" * (N // 2),
    "statements": "x=1;" * (N // 2),
    "evaluations": "eval;" * (N // 2),
    "comprehensions": "[x " + "for x in y " * (N // 5) + "]",
    "indentation": "".join(" " * i + "if 1:\n" for i in range(600)),
    "digits": "x = " + "1" * N,
    "f-strings": "f'{" * 100 + "1" + "}'" * 100,
    "spaces": "x" + " " * N * 2,
    "spaces and words": ("x" + " " * 79) * 3000,
    "carriage returns": "\r" * N,
    "underscores in a name": "\u0430" + "_" * N + "=1",
    "aliases": "\n".join(f"import os as a{i % 9}\na{i % 9} = a{(i + 1) % 9}.system" for i in range(5000)),
    "one line of direction changes": "\u202e" * 50_000,
    "null bytes": "\0" * N,
    "surrogates in an escape": "x = '\\ud800'\neval('\\ud800')",
    "named characters": "'\\N{DIGIT ONE}'" * (N // 8),
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_bomb_costs_little(name: str) -> None:
    """Whatever the source does to the parser, the scan ends soon and says something of the file or nothing."""
    begun = time.process_time()
    result = scan({"a.py": BOMBS[name].encode()})
    assert time.process_time() - begun < 5
    assert result.files == 1
    assert result.parsed == 1 or any(f.category == "unread" for f in result.findings)


@pytest.mark.parametrize(
    "raw",
    [b"x = " + b"1" * 10_000_000, b"\xff" * 10_000_000, b"\0" * 10_000_000, b" " * 10_000_000],
    ids=["digits", "no UTF-8", "null bytes", "spaces"],
)
@pytest.mark.parametrize("path", ["a.py", "a.md", "a.json"])
def test_ten_megabytes_of_one_line_cost_little(path: str, raw: bytes) -> None:
    """A file beyond the limit is not read; that it is Python is then a finding."""
    begun = time.process_time()
    found = scan({path: raw}).findings
    assert time.process_time() - begun < 2
    assert path != "a.py" or found[0].key == "unread.too_large"


def test_large_files_do_not_hide_others() -> None:
    """What is left unread because there is so much is said to be unread."""
    filler = b"x = 1\n" * (MAX_PARSED_BYTES // 6)
    files = {f"a{i}.py": filler for i in range(4)} | {"z.py": b"import socket\n" * 1000}
    assert {"z.py"} <= {f.path for f in scan(files).findings if f.key in {"unread.too_large", "network.module"}}


def test_nothing_unescaped_is_shown() -> None:
    """Paths, symbols and lines, from wherever they come."""
    evil = "\u202e\x1b[2J"
    files = {
        f"a{evil}.py": f"import os # {evil}\nos.system('{evil}') # {evil}\n'/etc/{evil}'\nx = '/etc/{evil}'".encode()
    }
    result = scan(files)
    assert result.findings
    for finding in result.findings:
        for text in (finding.path, finding.symbol, finding.snippet, finding.what):
            assert text.isprintable()
    assert all(path.isprintable() for one in result.imports for path in one.files)
