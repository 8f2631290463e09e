"""Active or outward-reaching SVG is refused; what plotting libraries draw passes."""

import io

import pytest

from flame_fl.report.svg import ActiveSvgError, check_svg

NAMESPACES = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:h="http://www.w3.org/1999/xhtml"'
)


def svg(inner, attributes=""):
    return f"<svg {NAMESPACES} {attributes}>{inner}</svg>".encode()


@pytest.mark.parametrize(
    "content",
    [
        svg("<script>alert(1)</script>"),
        svg("<g><script/></g>"),
        svg("<h:script>alert(1)</h:script>"),
        svg("<foreignObject><h:p/></foreignObject>"),
        svg("<metadata><h:iframe/></metadata>"),
        svg("<a href='#x'><path/></a>"),
        svg("<set attributeName='href' to='javascript:alert(1)'/>"),
        svg("<animate attributeName='x'/>"),
        svg("", "onload='alert(1)'"),
        svg("<path ONCLICK='alert(1)'/>"),
        svg("<use href='http://evil.example/#x'/>"),
        svg("<use xlink:href='//evil.example/#x'/>"),
        svg("<image href='javascript:alert(1)'/>"),
        svg("<image href='data:image/svg+xml;base64,AAAA'/>"),
        svg("<image href='data:text/html,x'/>"),
        svg("<style>@import 'http://evil.example/x.css';</style>"),
        svg("<style>path{fill:url(http://evil.example/x)}</style>"),
        svg("<style>path{fill:url( 'http://evil.example/x')}</style>"),
        svg("<style>path{fill:ur<![CDATA[l(//evil.example)]]>}</style>"),
        svg(r"<style>path{fill:\75rl(//evil.example)}</style>"),
        svg("<path style='fill:URL(//evil.example)'/>"),
        svg("<path fill='url(//evil.example)'/>"),
        svg("<path style='background:image-set(\"//evil.example\")'/>"),
        b"<?xml-stylesheet href='http://evil.example/x.css'?>" + svg(""),
        b"<!DOCTYPE svg [<!ENTITY a 'aaaa'>]>" + svg("<text>&a;</text>"),
        b"<!DOCTYPE svg [<!ENTITY % a SYSTEM 'http://evil.example'> %a;]>" + svg(""),
        b"<html xmlns='http://www.w3.org/1999/xhtml'/>",
        b"<svg/>",
        b"<svg xmlns='http://www.w3.org/2000/svg'>",
        b"",
        svg("").decode().encode("utf-16"),
        b'<?xml version="1.0" encoding="iso-2022-jp"?>' + svg(""),
        svg("") + b"<script/>",
    ],
)
def test_svg_that_is_more_than_a_picture_is_refused(content):
    """Scripts, events, XHTML, animation, outward references, entities and other documents do not pass."""
    with pytest.raises(ActiveSvgError):
        check_svg(content)


@pytest.mark.parametrize(
    "content",
    [
        svg("<defs><clipPath id='c'><rect/></clipPath></defs><path clip-path='url(#c)' style='fill: url(#c)'/>"),
        svg("<use xlink:href='#m' x='1'/><style>*{stroke-linejoin: round}</style>"),
        svg("<image xlink:href='data:image/png;base64,AAAA'/>"),
        svg("<!-- made by a program --><title>a &lt; b</title><text>url(http://shown.as/text)</text>"),
        b'<?xml version="1.0" encoding="utf-8"?>\n' + svg(""),
    ],
)
def test_a_plain_picture_passes(content):
    """References inside the file, embedded bitmaps, styles and text are part of a picture."""
    check_svg(content)


def test_what_matplotlib_draws_passes():
    """A figure saved with matplotlib's defaults, bitmap and metadata included, is accepted."""
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.add_subplot()
    axes.scatter([1, 2], [3, 4], label="a")
    axes.imshow([[0, 1], [1, 0]])
    axes.legend()
    target = io.BytesIO()
    figure.savefig(target, format="svg")
    check_svg(target.getvalue())
