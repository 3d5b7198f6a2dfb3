"""One executed notebook -> one HTML page that loads nothing, and the check that it loads nothing."""

from __future__ import annotations

import functools
import re
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import nbformat
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

TEMPLATES = Path(__file__).parent / "templates"
# Attributes that make a browser fetch something by themselves. `href` does so in some tags only, see below.
LOADING_ATTRIBUTES = {"src", "srcset", "poster", "background", "data", "action", "formaction", "manifest", "ping"}
LOADING_HREF = {"link", "image", "use", "base", "feimage", "script"}
REMOTE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//|(?:https?|ftp|wss?|file):", re.IGNORECASE)
CSS_LOAD = re.compile(r"@import\s+[^;]*|url\(\s*[^)]*\)", re.IGNORECASE)
# Live widgets need scripts; a page shows their text instead.
DISPLAY_PRIORITY = [
    "text/html",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "text/markdown",
    "text/latex",
    "text/plain",
]


@functools.cache
def environment() -> jinja2.Environment:
    """Templates of the pages; every value is escaped unless it is marked as HTML."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def notebook_page(executed: Path, *, title: str, subtitle: str, index: str) -> str:
    """An executed notebook as a self-contained HTML page.

    Parameters
    ----------
    executed : the notebook, with outputs.
    title, subtitle : shown on top; escaped here.
    index : relative address of the study's index.

    Raises
    ------
    ValueError
        The page would load something from elsewhere; the message names it.
    """
    notebook = nbformat.read(executed, as_version=4)
    _settle_progress(notebook)
    exporter = HTMLExporter(
        template_name="basic",
        template_file="cells.html.j2",
        extra_loaders=[jinja2.FileSystemLoader(TEMPLATES)],
        embed_images=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    exporter.config.NbConvertBase.display_data_priority = DISPLAY_PRIORITY
    exporter.display_data_priority = DISPLAY_PRIORITY
    body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"path": str(executed.parent)}})
    html = (
        environment()
        .get_template("notebook.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            index=index,
            body=body,
            highlight=HtmlFormatter().get_style_defs(".highlight"),
        )
    )
    return check_offline(html, where=str(executed))


def _settle_progress(notebook: nbformat.NotebookNode) -> None:
    """Leave of each line that was overwritten with carriage returns (progress bars) what a terminal would show."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                lines = output.text.replace("\r\n", "\n").split("\n")
                output.text = "\n".join(next((p for p in reversed(line.split("\r")) if p), "") for line in lines)


def check_offline(html: str, *, where: str) -> str:
    """`html` itself; ValueError, naming the addresses and `where` they come from, if it loads anything."""
    if found := external_requests(html):
        raise ValueError(f"{where}: a report may not load anything, but this would load {', '.join(found)}; embed it")
    return html


def external_requests(html: str) -> list[str]:
    """Addresses that a browser would fetch when it opens the page `html`, in order; links to click on are none.

    Scripts, style sheets, pictures, frames, fonts, media, redirects, and ``url()`` or ``@import`` in any style.
    """
    parser = _RequestParser()
    parser.feed(html)
    parser.close()
    return parser.found


class _RequestParser(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag, attrs):
        self._in_style = tag == "style"
        for name, value in attrs:
            value, name = (value or "").strip(), name.lower().removeprefix("xlink:")
            if name in LOADING_ATTRIBUTES or (name == "href" and tag in LOADING_HREF):
                parts = [part.strip().split(" ")[0] for part in value.split(",")] if name == "srcset" else [value]
                self.found += [part for part in parts if REMOTE.match(part)]
            elif name == "srcdoc":
                self.found += external_requests(value)
            elif name == "style":
                self._read_css(value)
            elif tag == "meta" and name == "content" and (target := re.search(r"url\s*=\s*['\"]?(.+)", value, re.I)):
                self.found += [target[1]]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self._in_style = False

    def handle_endtag(self, tag):
        self._in_style = False

    def handle_data(self, data):
        if self._in_style:
            self._read_css(data)

    def _read_css(self, css: str) -> None:
        for load in CSS_LOAD.findall(css):
            address = re.sub(r"^(@import\s+)?(url\()?\s*['\"]?", "", load, flags=re.I).rstrip("'\") ")
            if REMOTE.match(address):
                self.found.append(address)
