"""The status page in a real browser."""

from collections.abc import Iterator

import pytest

from tests.browser import CHROMIUM, Browser, browser
from tests.faults.cluster import Cluster
from tests.faults.proxy import Proxy
from tests.servers import Server, serve

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")
TOKEN = "a-token-for-the-operators"
HEADLINE = "document.querySelector('h1').textContent"


@pytest.fixture
def tab() -> Iterator[Browser]:
    """Open a browser with one tab."""
    with browser() as tab:
        yield tab


def test_the_page_follows_an_outage(cluster: Cluster, service: Server, tab: Browser) -> None:
    """The page shows an outage and its end without a reload, and keeps focus and scroll."""
    tab.open(f"http://127.0.0.1:{service.port}/")
    tab.wait_for(f"{HEADLINE} === 'Groundwork is up'")
    tab.evaluate("window.same = true; document.querySelector('a').focus(); scrollTo(0, 200)")

    cluster.stop()
    tab.wait_for(f"{HEADLINE} === 'Groundwork is down'")
    cluster.start()
    tab.wait_for(f"{HEADLINE} === 'Groundwork is up'")

    kept = tab.evaluate("[window.same, document.activeElement.text, scrollY]")
    assert kept == [True, "API docs", 200]
    assert tab.errors == []


def test_the_page_announces_only_changes(service: Server, tab: Browser) -> None:
    """A refresh without a new state leaves the live region unchanged."""
    tab.open(f"http://127.0.0.1:{service.port}/")
    tab.evaluate("""new MutationObserver(() => window.changed = true).observe(
        document.getElementById("state"),
        {attributes: true, characterData: true, childList: true, subtree: true})""")

    shown = tab.evaluate("document.querySelector('.foot').textContent")
    tab.wait_for(f"document.querySelector('.foot').textContent !== `{shown}`")

    assert tab.evaluate("document.querySelector('[role=status]').id") == "state"
    assert tab.evaluate("window.changed") is None


def test_the_page_shows_a_lost_service(service: Server, tab: Browser) -> None:
    """If the service is not reachable, the page says so, retries, and recovers."""
    with Proxy(service.port).running() as network:
        tab.open(f"http://127.0.0.1:{network.port}/")
        titles = [tab.evaluate("document.title")]

        network.set("refuse")
        tab.wait_for(f"{HEADLINE} === 'Groundwork does not response'")
        titles.append(tab.evaluate("document.title"))
        network.set("pass")
        tab.wait_for(f"{HEADLINE} === 'Groundwork is up'")
        titles.append(tab.evaluate("document.title"))

    assert titles == ["Groundwork is up", "Groundwork does not response", "Groundwork is up"]


def test_the_page_asks_for_the_token(cluster: Cluster, tab: Browser) -> None:
    """After one challenge the browser sends the token with each request."""
    rows = "document.querySelectorAll('tbody tr').length"
    production = {"ENVIRONMENT": "production", "SECRET_KEY": "x" * 32, "OPS_TOKEN": TOKEN}
    with serve(DATABASE_URL=cluster.url(), **production) as service:
        shown = []
        for user in ("", f"operator:{TOKEN}@", ""):
            tab.open(f"http://{user}127.0.0.1:{service.port}/{'?figures' if user else ''}")
            shown.append(tab.evaluate(rows))
        tab.evaluate("document.querySelector('tbody').remove()")
        tab.wait_for(f"{rows} === 4")  # the page's refresh restores them

    assert shown == [0, 4, 4]


def test_the_page_works_without_scripts(service: Server, tab: Browser) -> None:
    """With scripts disabled, the browser reloads the page by itself."""
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(f"http://127.0.0.1:{service.port}/")

    refresh = "document.querySelector('head noscript meta[http-equiv=refresh]')"
    assert tab.evaluate(f"{refresh}.content") == "15"
    assert tab.evaluate(HEADLINE) == "Groundwork is up"
