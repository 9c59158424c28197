"""HTML pages: values are escaped, and a policy allows only the page's own style and script."""

import base64
import hashlib
from html import escape
from string import Template

from groundwork.core.http.responses import NO_STORE

# The headers of a page as its operation declares them.
PAGE_HEADERS = NO_STORE | {"Content-Security-Policy": ".+"}


class Html(str):
    """Text that is HTML already and must not be escaped."""

    __slots__ = ()


def fill(template: str, **values: object) -> Html:
    """Return the template with each $name replaced by its value, escaped unless it is Html."""
    texts = {k: v if isinstance(v, Html) else escape(str(v)) for k, v in values.items()}
    return Html(Template(template).substitute(texts))


def page_headers(template: str) -> dict[str, str]:
    """Return the headers of a page that loads nothing from another host."""
    # With no-referrer a browser would send a form with Origin: null.
    has_form = "<form" in template
    forms, referrer = ("'self'", "same-origin") if has_form else ("'none'", "no-referrer")
    policy = (
        f"default-src 'none'; style-src {_source(template, 'style')}; "
        f"script-src {_source(template, 'script')}; img-src data:; connect-src 'self'; "
        f"base-uri 'none'; form-action {forms}; frame-ancestors 'none'"
    )
    return NO_STORE | {"Content-Security-Policy": policy, "Referrer-Policy": referrer}


def _source(template: str, tag: str) -> str:
    """Return the hash of the page's <style> or <script> (CSP, 2.3.1), or 'none' if it has none."""
    _, found, rest = template.partition(f"<{tag}>")
    digest = hashlib.sha256(rest.partition(f"</{tag}>")[0].encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'" if found else "'none'"
