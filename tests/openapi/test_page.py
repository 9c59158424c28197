"""GET /docs, and what it loads."""

import gzip
import json
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from groundwork import openapi as docs

VENDORED = Path(docs.__file__).parent / "swagger-ui"


class References(HTMLParser):
    """Collects what a page names by href and src, and fails on what runs or styles inline."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one tag."""
        given = dict(attrs)
        assert tag != "style"
        assert tag != "script" or "src" in given
        assert [name for name in given if name == "style" or name.startswith("on")] == []
        self.found += [given[name] or "" for name in ("href", "src") if name in given]


async def test_the_page_loads_only_what_is_here(client: httpx.AsyncClient) -> None:
    """Whatever the page names is served by the service itself, and nothing in it is inline."""
    page = await client.get("/docs")
    found = [name for name in References(page.text).found if not name.startswith("data:")]

    assert found
    assert [name for name in found if (await client.get(f"/{name}")).status_code != 200] == []


async def test_the_page_shows_the_description(client: httpx.AsyncClient) -> None:
    """The script renders /openapi.json, and has no other host check it."""
    script = (await client.get("/docs/page.js")).text

    assert 'url: "openapi.json"' in script
    assert "validatorUrl: null" in script


async def test_what_is_kept_as_gzip_is_said_to_be(client: httpx.AsyncClient) -> None:
    """A browser is told of the compression, and so has the file itself."""
    response = await client.get("/docs/swagger-ui.css")

    assert response.headers["content-encoding"] == "gzip"
    assert response.content == gzip.decompress((VENDORED / "swagger-ui.css.gz").read_bytes())


async def test_the_policy_is_strict(client: httpx.AsyncClient) -> None:
    """The Content-Security-Policy allows this host, and nothing inline or evaluated."""
    policy = (await client.get("/docs")).headers["content-security-policy"]

    allowed = {source for rule in policy.split(";") for source in rule.split()[1:]}
    assert policy.startswith("default-src 'none';")
    assert allowed == {"'none'", "'self'", "data:"}


@pytest.mark.parametrize("name", ["page.js", "swagger-ui.css"])
async def test_what_a_browser_has_is_not_sent_again(client: httpx.AsyncClient, name: str) -> None:
    """With the ETag of what it has, a browser gets 304 and may use that."""
    first = await client.get(f"/docs/{name}")
    again = await client.get(f"/docs/{name}", headers={"If-None-Match": first.headers["etag"]})

    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == first.headers["cache-control"]


async def test_what_has_changed_is_sent(client: httpx.AsyncClient) -> None:
    """Another ETag gets the whole file."""
    response = await client.get("/docs/page.js", headers={"If-None-Match": '"another"'})

    assert response.status_code == 200


@pytest.mark.parametrize("name", ["page.html", "openapi.json", "..%2Froutes.py", "%00", "x" * 999])
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    """What the page does not load is not there, whatever lies in the folder."""
    response = await client.get(f"/docs/{name}")

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_the_renderer_is_the_one_that_its_package_json_names() -> None:
    """The vendored files are of the version that Dependabot sees, and have their licence."""
    wanted = json.loads((VENDORED / "package.json").read_text())["dependencies"]["swagger-ui-dist"]
    script = gzip.decompress((VENDORED / "swagger-ui-bundle.js.gz").read_bytes()).decode()

    assert f'PACKAGE_VERSION:"{wanted}"' in script
    assert "Apache License" in (VENDORED / "LICENSE").read_text()
