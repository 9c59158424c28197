"""HTML pages: values are escaped, and a policy allows only the page's own style and script."""

import base64
import hashlib
from html import escape
from string import Template


class Html(str):
    """Text that is HTML already and must not be escaped."""

    __slots__ = ()


def fill(template: str, **values: object) -> Html:
    """Return the template with each $name replaced by its value, escaped unless it is Html."""
    texts = {
        name: value if isinstance(value, Html) else escape(str(value))
        for name, value in values.items()
    }
    return Html(Template(template).substitute(texts))


def drop(page: str, part: str) -> str:
    """Return the page without what stands between <!-- part --> and <!-- /part -->."""
    before, _, rest = page.partition(f"<!-- {part} -->")
    return before + rest.partition(f"<!-- /{part} -->")[2]


def page_headers(style: str = "'self'", script: str = "'self'") -> dict[str, str]:
    """Return the headers of a page that loads nothing from other hosts; arguments: CSP sources."""
    policy = (
        "default-src 'none'",
        f"style-src {style}",
        f"script-src {script}",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "; ".join(policy),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def source(page: str, tag: str) -> str:
    """Return the CSP source of a page's one <style> or <script>: its hash (CSP, 2.3.1)."""
    text = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
