"""The report that every run leaves: ``report.html`` for people, ``result.json`` for programs.

Where to look:

* ``facts``       what the caller knows of a run: frozen values, no I/O
* ``app_report``  what the app says of itself in ``report.json``: untrusted, closed and bounded
* ``files``       reads the app's files without following a link, and refuses active SVG
* ``words``       numbers, codes and privacy grounds in plain sentences
* ``plots``       the drawing style; ``charts`` what is drawn of the facts
* ``page``        facts and app report to one HTML text
* ``write``       `write_report`: both files, each complete or absent
* ``extras``      the only place that imports jinja2 and matplotlib (``pip install 'flame-fl[report]'``)

Invariants: nothing the app or a node wrote reaches the page unescaped; the page loads nothing and runs
nothing; the same facts and files give the same bytes.
"""

from flame_fl.report.app_report import AppReport
from flame_fl.report.extras import require_extras
from flame_fl.report.facts import DerivedFacts, NodeFacts, RefusalFacts, Result, RoundFacts, RunFacts, TermsFacts
from flame_fl.report.files import load_app_report
from flame_fl.report.write import write_report

__all__ = [
    "AppReport",
    "DerivedFacts",
    "NodeFacts",
    "RefusalFacts",
    "Result",
    "RoundFacts",
    "RunFacts",
    "TermsFacts",
    "load_app_report",
    "require_extras",
    "write_report",
]
