"""Pages of one file."""

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from groundwork.core.http.html import Html, drop, fill


def test_values_are_escaped() -> None:
    """A value is text, whatever it holds."""
    assert fill("<p>$text</p>", text="<b>&\"'") == "<p>&lt;b&gt;&amp;&quot;&#x27;</p>"


def test_html_is_kept() -> None:
    """What is HTML already goes in as it is, so that one piece may hold another."""
    inner = fill("<b>$text</b>", text="<")

    assert isinstance(inner, Html)
    assert fill("<p>$inner</p>", inner=inner) == "<p><b>&lt;</b></p>"


def test_a_part_is_dropped() -> None:
    """Between its two comments a part goes, and the rest stays."""
    assert drop("a<!-- part -->b<!-- /part -->c", "part") == "ac"


async def test_every_page_is_guarded(app: Starlette, client: httpx.AsyncClient) -> None:
    """A browser guesses no type, tells nobody where it was, frames and runs nothing foreign."""
    paths = [route.path for route in app.routes if isinstance(route, Route)]
    answers = [await client.get(path) for path in paths if "{" not in path]
    pages = [one.headers for one in answers if one.headers["content-type"].startswith("text/html")]

    assert len(pages) >= 2
    for headers in pages:
        policy = headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy)
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
