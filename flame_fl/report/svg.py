"""Is this SVG only a picture? Active or outward-reaching SVG is refused, never cleaned.

The page shows figures through ``<img>``, where browsers run no script and load nothing; this check also
protects a reader who opens the picture by itself. Invariants: UTF-8 XML without entities or processing
instructions; only drawing elements of the SVG namespace and nothing of XHTML; no event attributes;
references and style sheets stay inside the file.
"""

import re
from typing import Final
from xml.parsers import expat

_SVG: Final = "http://www.w3.org/2000/svg"
_XHTML: Final = "http://www.w3.org/1999/xhtml"
_STRUCTURE: Final = {"svg", "g", "defs", "symbol", "use", "switch", "title", "desc", "metadata", "style"}
_SHAPES: Final = {"path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "image"}
_TEXT: Final = {"text", "tspan", "textPath"}
_PAINT: Final = {"clipPath", "mask", "marker", "pattern", "linearGradient", "radialGradient", "stop"}
_FILTERS: Final = {"filter", "feBlend", "feColorMatrix", "feComposite", "feFlood", "feGaussianBlur", "feMerge"}
_DRAWING: Final = frozenset(_STRUCTURE | _SHAPES | _TEXT | _PAINT | _FILTERS | {"feMergeNode", "feOffset"})
_INNER: Final = r"#|data:image/(?:png|jpeg);base64,"
_INNER_REFERENCE: Final = re.compile(rf"(?:{_INNER})")
# A backslash can spell any of these words in CSS, so it is refused as well.
_OUTWARD_CSS: Final = re.compile(rf"@import|\\|image-set|\b(?:src|image)\(|url\(\s*['\"]?(?!{_INNER})", re.IGNORECASE)


class ActiveSvgError(ValueError):
    """The bytes are no SVG, or are more than a picture. The text quotes nothing from the file."""


def check_svg(content: bytes) -> None:
    """Pass if ``content`` is one well-formed, passive and self-contained SVG document.

    Raises:
        ActiveSvgError: it is not; the text says what was found.
    """
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    check = _Check()
    parser.XmlDeclHandler = check.declaration
    parser.StartElementHandler = check.start
    parser.EndElementHandler = check.end
    parser.CharacterDataHandler = check.text
    parser.EntityDeclHandler = check.entity
    parser.ProcessingInstructionHandler = check.instruction
    try:
        content.decode("utf-8")  # a byte order mark would make expat switch
        parser.Parse(content, True)  # noqa: FBT003 - expat takes no keyword
    except UnicodeDecodeError:
        raise ActiveSvgError("it is not text in UTF-8") from None
    except expat.ExpatError as error:
        raise ActiveSvgError(f"it is not well-formed XML (line {error.lineno})") from None


class _Check:
    """Handlers for expat; ``style`` text is judged whole, since expat hands it over in pieces."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._style: list[str] = []

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if (encoding or "utf-8").lower() != "utf-8":  # a browser would believe it and read other characters
            raise ActiveSvgError("it is not text in UTF-8")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, element = name.rpartition(" ")
        if not self._path and (namespace, element) != (_SVG, "svg"):
            raise ActiveSvgError("its outermost element is not svg")
        if namespace == _XHTML or (namespace == _SVG and element not in _DRAWING):
            raise ActiveSvgError("it holds an element that is not for drawing")
        for key, value in attributes.items():
            _check_attribute(key, value)
        self._path.append(element)

    def end(self, _name: str) -> None:
        if self._path.pop() == "style":
            _check_css("".join(self._style))
            self._style.clear()

    def text(self, data: str) -> None:
        if self._path[-1] == "style":
            self._style.append(data)

    def entity(self, *_declaration: object) -> None:
        raise ActiveSvgError("it declares XML entities")

    def instruction(self, _target: str, _data: str) -> None:
        raise ActiveSvgError("it holds a processing instruction")


def _check_attribute(key: str, value: str) -> None:
    namespace, _, name = key.rpartition(" ")
    if name.lower().startswith("on"):
        raise ActiveSvgError("it holds an event attribute")
    if name.lower() in {"href", "src"} and not _INNER_REFERENCE.match(value.strip()):
        raise ActiveSvgError("it refers to something outside the file")
    if not namespace:  # a presentation attribute is CSS; editors' own attributes mean nothing to a browser
        _check_css(value)


def _check_css(text: str) -> None:
    if _OUTWARD_CSS.search(text):
        raise ActiveSvgError("its style refers to something outside the file")
