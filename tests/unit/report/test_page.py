"""The page: structure that no text can change, nothing loaded, nothing run, readable by everybody."""

import base64
import hashlib
import html.parser
import json
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flame_fl.report import AppReport, DerivedFacts, RefusalFacts, Result, RunFacts, TermsFacts
from flame_fl.report.app_report import Table
from flame_fl.report.facts import AccountFacts
from flame_fl.report.page import MAX_ROUND_ROWS, _numeric_columns, render
from flame_fl.report.svg import check_svg
from flame_fl.report.words import visible

VOID = {"meta", "img", "source", "br", "!doctype"}


class Outline(html.parser.HTMLParser):
    """Tags with their attributes in order, and the text between them."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.open, self.style = [], [], [], ""
        self.feed(page)
        self.close()
        self.words = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text.append(data)

    def shape(self):
        return [(tag, sorted(attributes)) for tag, attributes in self.tags]

    def values(self, *names):
        return [v for _, attributes in self.tags for name, v in attributes.items() if name in names]


def page_of(run, app=None, figures=(), **more):
    return render(Result(run=run, app_report=app, **more), figures, "run-1")


@pytest.fixture
def hostile_page(hostile, hostile_report):
    report = AppReport.model_validate_json(json.dumps(hostile_report))
    figure = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    return page_of(hostile, report, (figure,) * len(report.figures), app_report_refused="")


def test_hostile_strings_are_text_and_nothing_else(hostile_page, hostile_texts):
    """Every hostile string is on the page as text, spelt out; none became an element or an attribute."""
    outline = Outline(hostile_page)
    tags = {tag for tag, _ in outline.tags}
    assert not tags & {"script", "iframe", "object", "embed", "form", "link", "base"}
    assert sum(tag == "style" for tag, _ in outline.tags) == 1
    assert not any(name.startswith("on") or name == "style" for _, attrs in outline.tags for name in attrs)
    for text in hostile_texts:
        assert " ".join(visible(text).split()) in outline.words


def test_no_bidirectional_or_control_character_reaches_the_page(hostile_page):
    """What could hide or turn text around is spelt out everywhere, attributes included."""
    assert all(c.isprintable() or c == "\n" for c in hostile_page)


def run_of(text):
    """Facts in which every string that another machine wrote is ``text``."""
    refusal = RefusalFacts(code=901, name=text, count=1, reason=text)
    node = {"name": text, "status": "approved", "approved_by": text, "refusals": (refusal,), "audit_head": text}
    return RunFacts(
        app=text, analysis_digest=text, fab_sha256=text, started="2026-03-02T14:05:09Z", ended=None, status="failed",
        reason=text, seed=1, sandbox=text, policy=text, simulated=True, noise_seeded=False, command=text,
        run_config={text: text}, nodes=(node,), versions={text: text},
    )  # fmt: skip


def app_of(text):
    """An app report in which every string is ``text``."""
    table = {"title": text, "caption": text, "columns": (text,), "rows": ((text,),)}
    figure = {"file": "plots/a.svg", "title": text, "caption": text}
    headline = {"label": text, "value": text, "note": text}
    parts = {"headline": (headline,), "figures": (figure,), "tables": (table,), "notes": (text,)}
    return AppReport(title=text, data_note=text, **parts)


hostile_text = st.text(min_size=1, max_size=24) | st.text(
    alphabet="<>&\"'/=`{}%- \n\taonscript!\\", min_size=1, max_size=24
)


@settings(max_examples=60, deadline=None)
@given(hostile_text)
def test_no_text_changes_the_structure_of_the_page(text):
    """For any text the sequence of elements and attribute names is that of a harmless text."""
    page = page_of(run_of(text), app_of(text), (b"<svg/>",))
    assert Outline(page).shape() == Outline(page_of(run_of("plain"), app_of("plain"), (b"<svg/>",))).shape()


def test_derived_analyses_are_shown_with_their_claim_and_a_link(make_facts):
    """Name, digest, cap, most ε spent and the page of each; a plot of ε by DIZ only where a bound is claimed."""
    bound, plain = make_facts(analysis_digest="b" * 64), make_facts(analysis_digest="c" * 64, terms=TermsFacts())
    beside = (
        DerivedFacts(name="noisy", page="variants/noisy/report.html", run=bound),
        DerivedFacts(name="exact", page="variants/exact/report.html", run=plain),
    )
    page = page_of(make_facts(terms=TermsFacts(), derived=beside), None, ())
    section = page[page.index("The same app on other terms") :]
    section = section[: section.index("</section>")]
    assert [word in section for word in ("noisy", "exact", "b" * 12, "c" * 12)] == [True] * 4
    assert re.findall('href="([^"]*)"', section) == ["variants/noisy/report.html", "variants/exact/report.html"]
    assert section.count("<figure") == 1


@pytest.mark.parametrize("page", ["javascript:alert(1)", "//evil.example/x", "../../etc/passwd", "/etc/passwd", "a b"])
def test_a_derived_analysis_links_into_the_run_s_folder_only(make_facts, page):
    """Schemes, hosts, absolute paths and steps upwards cannot be stated."""
    with pytest.raises(ValidationError):
        DerivedFacts(name="x", page=page, run=make_facts())


def test_numbers_written_as_text_are_set_flush_right_by_column():
    """A column of which every cell is a number or a dash; one word in it, and the whole column is text."""
    rows = (("a", "2.50", "1", 3.0), ("b", "–", "yes", 4))
    table = Table(columns=("model", "MAE", "mixed", "n"), rows=rows)
    assert _numeric_columns(table) == [False, True, False, True]


def test_the_page_is_self_contained(facts):
    """Sources are data in the page, links are anchors in the page, and no address stands anywhere."""
    outline = Outline(page := page_of(facts, app_of("plain"), (b"<svg/>",)))
    assert all(value.startswith("data:image/") for value in outline.values("src", "srcset"))
    anchors = outline.values("href")
    assert anchors
    assert {f"#{name}" for name in outline.values("id")} >= set(anchors)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)


def test_the_gates_own_pictures_pass_the_check_of_untrusted_ones(facts):
    """What we draw meets the rule that we set for apps."""
    sources = Outline(page_of(facts)).values("src", "srcset")
    assert len(sources) == 14  # six plots of rounds and one of privacy, light and dark
    for source in sources:
        check_svg(base64.b64decode(source.partition(";base64,")[2]))


def test_the_policy_allows_pictures_and_one_style_sheet(facts):
    """The content security policy names the hash of exactly the style sheet on the page."""
    outline = Outline(page_of(facts))
    (policy,) = [attrs["content"] for tag, attrs in outline.tags if "http-equiv" in attrs]
    digest = base64.b64encode(hashlib.sha256(outline.style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_the_page_can_be_read_without_seeing_it(facts):
    """Language, one first heading, labelled sections, an alternative text for each picture, scoped table headers."""
    outline = Outline(page_of(facts, app_of("plain"), (b"<svg/>",)))
    assert ("html", {"lang": "en-GB"}) in outline.tags
    assert [tag for tag, _ in outline.tags].count("h1") == 1
    assert all(attrs.get("alt") for tag, attrs in outline.tags if tag == "img")
    assert all(attrs.get("scope") in {"row", "col"} for tag, attrs in outline.tags if tag == "th")
    labels = {attrs["aria-labelledby"] for tag, attrs in outline.tags if tag == "section"}
    assert labels <= set(outline.values("id"))
    assert len(outline.values("id")) == len(set(outline.values("id")))


def test_privacy_is_told_where_a_bound_is_claimed(facts):
    """Each DIZ's claim, the ground in words, and how to read ε."""
    words = Outline(page_of(facts)).words
    assert "DIZ-1 site enforced – 5.67 8 10⁻⁵ – bound claimed" in words
    assert "DIZ-3 none none – – – – – no update left" in words
    assert "The bound holds whatever the app’s code does." in words


def test_each_account_has_its_own_figures(make_facts, make_node):
    """Unit and namespace named: a release about the site is debited from its patients, too."""
    figures = {"epsilon_cap": 8.0, "delta": 1e-5, "advantage": 0.3, "tpr": 0.07}
    accounts = (
        AccountFacts(unit="site", epsilon_spent=2.5, **figures),
        AccountFacts(unit="patient", namespace="oncology", epsilon_spent=3.5, **figures),
    )
    words = Outline(page_of(make_facts(nodes=(make_node(1, accounts=accounts),)))).words
    assert "DIZ-1 site enforced site 2.5 8 10⁻⁵ 0.07 bound claimed" in words
    assert "DIZ-1 site enforced patient:oncology 3.5 8 10⁻⁵ 0.07 bound claimed" in words


def test_no_bound_is_said_where_none_is_claimed(make_facts, make_node):
    """Without a claim the page says so and draws no ε."""
    bare = make_node(1, unit="none", ground="none", epsilon_spent=None, epsilon_cap=None, delta=None)
    words = Outline(page_of(make_facts(nodes=(bare,)))).words
    assert "No bound is claimed for any DIZ in this run" in words
    assert "How to read ε" not in words


def test_seeded_noise_is_shown_loudly(make_facts):
    """A seeded run carries an alarm at the top and in the privacy section."""
    outline = Outline(page_of(make_facts(noise_seeded=True)))
    assert ("strong", {"class": "badge alarm"}) in outline.tags
    assert "No bound is claimed. The noise came from a known seed" in outline.words


def test_an_unverified_audit_chain_is_shown_loudly(make_facts, make_node):
    """The mark at the top and the cell in the table both say it."""
    words = Outline(page_of(make_facts(nodes=(make_node(1, audit_verified=False),)))).words
    assert "AUDIT NOT VERIFIED" in words
    assert "✕ NOT VERIFIED" in words


def test_the_page_says_how_to_verify_and_to_repeat(facts):
    """Both commands stand on the page, the folder's name quoted for a shell."""
    page = render(Result(run=facts), (), "run 1; rm")
    assert "flame node audit verify 'run 1; rm'" in Outline(page).words
    assert facts.command in Outline(page).words


def test_a_long_run_has_a_bounded_table(make_facts, facts):
    """A thousand rounds do not make an endless page; the rest is counted."""
    leg = facts.rounds[0].model_copy(update={"metrics": {}})
    many = tuple(leg.model_copy(update={"index": index}) for index in range(1000))
    words = Outline(page_of(make_facts(rounds=many))).words
    assert f"{1000 - MAX_ROUND_ROWS} further rows in result.json" in words


@pytest.mark.browser
def test_a_browser_runs_nothing_and_reports_no_violation(hostile_page, tmp_path):
    """Chromium shows the hostile page with its style, changes nothing in it and logs no refused load."""
    if not (chromium := shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("Chromium is not installed")
    file = tmp_path / "report.html"
    file.write_text(hostile_page, "utf-8")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    quiet += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [chromium, *quiet, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    seen = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in seen.stderr
    assert Outline(seen.stdout).shape() == Outline(hostile_page).shape()
