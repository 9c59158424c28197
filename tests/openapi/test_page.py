"""GET /docs, and the files that the page loads."""

import dataclasses
import gzip
import json
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from groundwork import openapi as docs
from groundwork.core.config import Settings

VENDORED = Path(docs.__file__).parent / "swagger-ui"


@pytest.fixture
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Return development settings with the changes of the test's parameter."""
    return dataclasses.replace(settings, **getattr(request, "param", {}))


class References(HTMLParser):
    """Collects the href and src of a page, and fails on inline scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check one tag."""
        given = dict(attrs)
        assert tag != "style"
        assert tag != "script" or "src" in given
        assert [name for name in given if name == "style" or name.startswith("on")] == []
        self.found += [given[name] or "" for name in ("href", "src") if name in given]


async def test_the_page_loads_only_files_of_the_service(client: httpx.AsyncClient) -> None:
    """Every file that the page loads is served by the service, and nothing is inline."""
    page = await client.get("/docs")
    found = [name for name in References(page.text).found if not name.startswith("data:")]

    assert found
    assert [name for name in found if (await client.get(f"/{name}")).status_code != 200] == []


@pytest.mark.parametrize("settings", [{"app_name": "R&D"}], indirect=True)
async def test_the_page_has_the_name_of_the_service(client: httpx.AsyncClient) -> None:
    """Its title is the service's, and a link of that name leads back to the status page."""
    page = (await client.get("/docs")).text

    assert "<title>R&amp;D API</title>" in page
    assert '<a href="./">R&amp;D status</a>' in page


async def test_the_page_shows_the_description(client: httpx.AsyncClient) -> None:
    """The script renders /openapi.json without an external validator."""
    script = (await client.get("/docs/page.js")).text

    assert 'url: "openapi.json"' in script
    assert "validatorUrl: null" in script


async def test_a_compressed_file_is_sent_as_gzip(client: httpx.AsyncClient) -> None:
    """A file stored as gzip is sent with Content-Encoding, so the browser unpacks it."""
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
async def test_a_cached_file_is_not_sent_again(client: httpx.AsyncClient, name: str) -> None:
    """A request with the current ETag gets 304 and no body."""
    first = await client.get(f"/docs/{name}")
    again = await client.get(f"/docs/{name}", headers={"If-None-Match": first.headers["etag"]})

    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == first.headers["cache-control"]


async def test_a_changed_file_is_sent(client: httpx.AsyncClient) -> None:
    """A request with another ETag gets the whole file."""
    response = await client.get("/docs/page.js", headers={"If-None-Match": '"another"'})

    assert response.status_code == 200


@pytest.mark.parametrize("name", ["page.html", "openapi.json", "..%2Froutes.py", "%00", "x" * 999])
async def test_no_other_file_is_served(client: httpx.AsyncClient, name: str) -> None:
    """A name that the page does not load is 404, also if the folder has such a file."""
    response = await client.get(f"/docs/{name}")

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_swagger_ui_has_the_version_of_its_package_json() -> None:
    """The vendored files have the version that Dependabot sees, and their license."""
    wanted = json.loads((VENDORED / "package.json").read_text())["dependencies"]["swagger-ui-dist"]
    script = gzip.decompress((VENDORED / "swagger-ui-bundle.js.gz").read_bytes()).decode()

    assert f'PACKAGE_VERSION:"{wanted}"' in script
    assert "Apache License" in (VENDORED / "LICENSE").read_text()
