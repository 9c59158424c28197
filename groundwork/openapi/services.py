"""The page of the API description, and the files that it loads: results, no HTTP."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from groundwork.core.http.html import fill

_FOLDER = Path(__file__).parent
# The files that the page loads, and their place in this folder.
PARTS = {
    "page.js": "page.js",
    "swagger-ui-bundle.js": "swagger-ui/swagger-ui-bundle.js.gz",
    "swagger-ui.css": "swagger-ui/swagger-ui.css.gz",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A file that the page loads. Vendored files are kept as gzip, at a quarter of their size."""

    body: bytes
    media_type: str
    is_gzip: bool
    etag: str


@cache
def get_page(app_name: str) -> str:
    """Return the page, with the name of the service as its title."""
    return fill((_FOLDER / "page.html").read_text("utf-8"), app_name=app_name)


@cache
def get_part(name: str) -> Part:
    """Return a file that the page loads, by its name in PARTS."""
    file = PARTS[name]
    body = (_FOLDER / file).read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    media_type = "text/css" if ".css" in file else "text/javascript"
    return Part(body, media_type, file.endswith(".gz"), etag)
