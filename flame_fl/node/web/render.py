"""Values into pages. Every value passes `shown` and then HTML escaping; only markup of our own templates is markup."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, get_args
from urllib.parse import quote

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from flame_fl.node.shown import shown
from flame_fl.node.web import words
from flame_fl.node.web.roles import Right

if TYPE_CHECKING:
    from flame_fl.node.web.access import Caller

LANGUAGE_COOKIE: Final = "flame-language"
_TEMPLATES: Final = files("flame_fl.node.web") / "templates"
_LANGUAGES: Final[dict[str, words.Language]] = {language: language for language in get_args(words.Language)}
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_YEAR_SECONDS: Final = 365 * 24 * 3600


@dataclass
class Renderer:
    """Makes pages.

    Args:
        node: The DIZ's name, for every page's head.
        default: The language before somebody chose one.
        secure: Whether cookies go over TLS only.
        locked: Whether the state is older than what left the node.
    """

    node: str
    default: words.Language
    secure: bool
    locked: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._environments: dict[words.Language, jinja2.Environment] = {
            language: _environment(language) for language in _LANGUAGES.values()
        }

    def language(self, request: Request) -> words.Language:
        """What was just asked for, or the cookie's, or the node's."""
        asked = request.query_params.get("lang") or request.cookies.get(LANGUAGE_COOKIE)
        return _LANGUAGES.get(asked or "", self.default)

    def page(
        self, request: Request, template: str, caller: "Caller | None" = None, *, status_code: int = 200, **values: Any
    ) -> HTMLResponse:
        """A template as a response."""
        language = self.language(request)
        text = (
            self._environments[language]
            .get_template(f"{template}.html.jinja")
            .render(
                node=self.node,
                caller=caller,
                locked=self.locked(),
                csrf=caller.session.csrf if caller else "",
                here=request.url.path if request.method in {"GET", "HEAD"} else "/",
                rights=frozenset(right.value for right in caller.rights) if caller else frozenset(),
                Right=Right,
                **values,
            )
        )
        response = HTMLResponse(text, status_code)
        if request.query_params.get("lang") == language:
            response.set_cookie(
                LANGUAGE_COOKIE, language, max_age=_YEAR_SECONDS, secure=self.secure, httponly=True, samesite="strict"
            )
        return response


def _environment(language: words.Language) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (_TEMPLATES / name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {"language": language, "say": words.sayer(language)}
    environment.filters |= {
        "word": _in(words.word, language),
        "moment": _in(words.moment, language),
        "number": _in(words.number, language),
        "size": _in(words.size, language),
        "message": _in(words.message, language),
        "short": lambda digest: str(digest)[:12],
        "is_hash": lambda text: _HASH.fullmatch(str(text)) is not None,
        "lines": lambda text: str(text).split("\n"),
        "path": lambda text: quote(str(text), safe=""),
        "cut": shown,
    }
    return environment


def _in(function: Callable[..., Any], language: words.Language) -> Callable[[Any], Any]:
    return lambda value: function(value, language)


def _shown(value: object) -> object:
    """The last step before escaping, for each value that a template prints."""
    return value if isinstance(value, Markup | jinja2.Undefined) else shown(value)
