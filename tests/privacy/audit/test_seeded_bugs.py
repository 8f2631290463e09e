"""The right code passes every audit, and each seeded bug is found by every audit that its row names.

False alarms: at most 1e-6 per statistical audit, of fresh randomness; none for the exact ones. Power: the smallest
statistical change among the bugs is a factor sqrt(2) in mu (metrics apart, every share whole, one coordinate bare).
With mu = 4 and 500 releases about each neighbour, what an audit needs to report lies 6 standard errors below that: it
finds such a bug with a probability above 1 - 1e-6, and stronger ones more surely. "Through the gate" makes 200 pairs of
messages about each, at mu = 28: 4 standard errors, above 0.999. A biased count at the threshold: 2,000 decisions about
each neighbour, where the right noise passes in 52 % and 48 % of them, and a tenth of it in 65 % and 35 %.
"""

import pytest

from tests.privacy.audit.audits import audits
from tests.privacy.audit.seeded_bugs import BUGS, DOCUMENT, Bug, as_table, documented
from tests.support.auditing import Finding

AUDITS = audits()
SLOW = {"through the gate"}


@pytest.mark.parametrize("name", [pytest.param(a, marks=pytest.mark.slow if a in SLOW else ()) for a in AUDITS])
def test_the_right_code_passes(name: str) -> None:
    AUDITS[name]()


FOUND = [
    pytest.param(bug, audit, id=f"{bug.name}, by {audit}", marks=pytest.mark.slow if audit in SLOW else ())
    for bug in BUGS
    for audit in bug.caught_by
]


@pytest.mark.parametrize(("bug", "audit"), FOUND)
def test_a_seeded_bug_is_found(bug: Bug, audit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.seed(monkeypatch)
    with pytest.raises(Finding):
        AUDITS[audit]()


def test_every_bug_is_named_once_and_every_audit_finds_something() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    assert {audit for bug in BUGS for audit in bug.caught_by} == AUDITS.keys()


def test_the_document_has_the_same_table() -> None:
    """`python -m tests.privacy.audit.seeded_bugs` writes it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert as_table() in text
    assert text == documented()
