"""Makes the HTML of a page: template, styles, scripts and data in one text that loads nothing from elsewhere. No torch.

All text of runs is escaped: by jinja2 in the template, by ``encoding.as_script`` in the data, and the script sets it as
text. A content security policy lets only the page's own scripts run, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from lab.report.html.encoding import as_script, page_data
from lab.report.html.page import Page
from lab.report.html.views import view_of

SCRIPTS = ("base.js", "charts.js", "curves.js", "table.js", "explore.js", "brush.js", "run.js", "main.js")
PARTS = ("head", "failures", "differences", "detail")
"""Parts of the page that are replaced as a whole while a sweep runs."""


def render(page: Page, live: bool = False) -> str:
    """Return the page as HTML.

    Args:
        page: what it shows.
        live: whether it asks the server that it comes from for what is new.
    """
    scripts = [asset("echarts.min.js"), own_script()]
    return _rendered(
        "page",
        page=page,
        view=view_of(page),
        live=live,
        policy=_policy(scripts, live),
        style=asset("report.css"),
        library=scripts[0],
        script=scripts[1],
        data=as_script(page_data(page)),
    )


def render_update(page: Page) -> dict[str, Any]:
    """Return what a live page asks for again: its data, and the HTML of its parts."""
    view = view_of(page)
    return {"data": page_data(page), "parts": {name: _rendered(name, page=page, view=view) for name in PARTS}}


def _rendered(name: str, **values: Any) -> str:
    """Return a template's HTML; what of a name is no text is written as an escape, so that it can be encoded."""
    text = environment().get_template(f"{name}.html.jinja").render(**values)
    return text.encode("utf-8", "backslashreplace").decode()


@cache
def own_script() -> str:
    """Return the page's script."""
    return "\n".join(asset(name) for name in SCRIPTS)


@cache
def asset(name: str) -> str:
    """Return the text of a file of ``assets``."""
    return resources.files("lab.report.html").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def environment() -> jinja2.Environment:
    """Return the templates, which escape all text."""
    loader = jinja2.FunctionLoader(asset)
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)


def _policy(scripts: list[str], live: bool) -> str:
    """Return the content security policy: own scripts by hash, pictures in the page, a server only if live."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
