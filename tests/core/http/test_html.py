"""HTML pages."""

from base64 import b64encode
from hashlib import sha256

import httpx
import pytest

from groundwork.core.http.html import Html, fill, page_headers
from tests.openapi.description import PATHS, urls


def test_values_are_escaped() -> None:
    """A value is text, whatever it contains."""
    assert fill("<p>$text</p>", text="<b>&\"'") == "<p>&lt;b&gt;&amp;&quot;&#x27;</p>"


def test_html_is_kept() -> None:
    """HTML goes in unescaped, so that a template may contain another."""
    inner = fill("<b>$text</b>", text="<")

    assert isinstance(inner, Html)
    assert fill("<p>$inner</p>", inner=inner) == "<p><b>&lt;</b></p>"


def test_what_is_inline_is_allowed_by_its_hash() -> None:
    """Style and script of the page may run; in a page without any, none may."""
    inline = page_headers("<title>x</title><style>a</style><script>b</script>")
    plain = page_headers("<title>x</title>")

    policies = [headers["Content-Security-Policy"] for headers in (inline, plain)]
    style, script = (b64encode(sha256(text).digest()).decode() for text in (b"a", b"b"))
    assert f"style-src 'sha256-{style}'; script-src 'sha256-{script}'; " in policies[0]
    assert "style-src 'none'; script-src 'none'; " in policies[1]


@pytest.mark.parametrize(
    ("page", "target", "referrer"),
    [("<form method=post>", "'self'", "same-origin"), ("", "'none'", "no-referrer")],
)
def test_a_form_may_be_sent(page: str, target: str, referrer: str) -> None:
    """A page may send a form to its own host; with no-referrer its Origin would be null."""
    headers = page_headers(page)

    assert f"form-action {target}" in headers["Content-Security-Policy"].split("; ")
    assert headers["Referrer-Policy"] == referrer


async def test_every_page_has_security_headers(client: httpx.AsyncClient) -> None:
    """No page may be framed or cached, or run what is not its own."""
    responses = [await client.get(url) for path in PATHS for url in urls(path)]
    pages = [one for one in responses if "html" in one.headers.get("content-type", "")]

    assert len(pages) >= 2
    for page in pages:
        policy = page.headers.get("content-security-policy", "")
        is_safe = {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy.split("; "))
        assert is_safe, f"{page.url}: its headers have to be those of page_headers()"
        assert "unsafe" not in policy
        assert page.headers["referrer-policy"] in {"no-referrer", "same-origin"}
        assert page.headers["cache-control"] == "no-store"
