"""Facts and app report to one HTML page that loads nothing and runs nothing.

Invariants: every value passes `visible` and then HTML escaping, without exception in the templates; pictures
are ``data:`` URIs in ``<img>``; the page's own content security policy allows those and one style sheet by
its hash, and nothing else.
"""

import base64
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from flame_fl.report import charts, story, words
from flame_fl.report.app_report import AppReport, Figure, Table
from flame_fl.report.extras import load
from flame_fl.report.facts import DerivedFacts, Result

if TYPE_CHECKING:
    import jinja2

MAX_ROUND_ROWS: Final = 400
_TEMPLATES: Final = files("flame_fl.report") / "templates"


@dataclass(frozen=True)
class _Picture:
    figure: Figure
    uri: str


@dataclass(frozen=True)
class _Derived:
    facts: DerivedFacts
    privacy_chart: charts.Chart | None
    noise_on: bool

    @property
    def spent(self) -> float | None:
        """The most that one DIZ spent; None where nothing is claimed."""
        return max((n.epsilon_spent for n in self.facts.run.nodes if n.epsilon_spent is not None), default=None)


def render(result: Result, figures: Sequence[bytes], run_name: str) -> str:
    """The page as text.

    Args:
        result: facts and, if it was accepted, the app's report.
        figures: the pictures of the app's report, in its order.
        run_name: name of the run's folder, for the command that verifies the audit.
    """
    run, app = result.run, result.app_report
    environment = _environment()
    style = _template("report.css")
    legs = run.rounds[:MAX_ROUND_ROWS]
    page: str = environment.get_template(
        "report.html.jinja"
    ).render(
        style=load("markupsafe").Markup(style),  # ours, and data in no part of it
        policy=_policy(style),
        run=run,
        app=app,
        refused=result.app_report_refused,
        title=(app.title if app and app.title else run.app),
        happened=story.what_happened(run),
        badges=story.badges(run, app),
        seconds=story.seconds_of(run),
        rounds=story.rounds_of(run),
        meanings=story.meanings(run),
        claims=[story.claim(run, node) for node in run.nodes],
        noise_on=story.noise_is_on(run),
        bytes_out=sum(node.bytes_out for node in run.nodes),
        bytes_in=sum(node.bytes_in for node in run.nodes),
        most_out=max((node.bytes_out for node in run.nodes), default=0),
        pictures=_pictures(app, figures),
        privacy_chart=charts.privacy_chart(run),
        derived=[_Derived(d, charts.privacy_chart(d.run), story.noise_is_on(d.run)) for d in run.derived],
        round_charts=charts.round_charts(run),
        metrics=charts.metric_names(run),
        metrics_not_drawn=charts.metric_names(run)[charts.MAX_METRICS :],
        legs=legs,
        legs_left_out=len(run.rounds) - len(legs),
        verify=f"flame node audit verify {shlex.quote(run_name)}",
    )
    return page


def _policy(style: str) -> str:
    """Content security policy: pictures from the page itself and this one style sheet; nothing else."""
    style_hash = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action 'none'"


def _numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers, also those that the app wrote as text: they are set flush right."""
    columns = zip(*table.rows, strict=True) if table.rows else ((),) * len(table.columns)
    return [bool(column) and all(words.is_number(cell) for cell in column) for column in columns]


def _pictures(app: AppReport | None, figures: Sequence[bytes]) -> list[_Picture]:
    if app is None:
        return []
    return [
        _Picture(figure, _data_uri(content, "png" if figure.file.endswith(".png") else "svg+xml"))
        for figure, content in zip(app.figures, figures, strict=True)
    ]


def _data_uri(content: bytes, subtype: str) -> str:
    return f"data:image/{subtype};base64,{base64.b64encode(content).decode()}"


@cache
def _environment() -> "jinja2.Environment":
    engine, markup = load("jinja2"), load("markupsafe").Markup

    def shown(value: object) -> object:
        """The last step before escaping, for each value that a template prints."""
        return value if isinstance(value, markup) else words.visible(str(value))

    environment: jinja2.Environment = engine.Environment(
        loader=engine.FunctionLoader(_template),
        autoescape=True,
        undefined=engine.StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "size": words.size,
        "duration": words.duration,
        "moment": words.moment,
        "counted": words.counted,
        "numeric_columns": _numeric_columns,
        "svg_uri": lambda svg: _data_uri(svg.encode("utf-8"), "svg+xml"),
    }
    return environment


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")
