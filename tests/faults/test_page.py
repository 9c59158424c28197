"""The status page in a real browser."""

from collections.abc import Iterator

import pytest

from tests.browser import CHROMIUM, Browser, browser
from tests.faults.cluster import Cluster
from tests.faults.proxy import Proxy
from tests.servers import Server, serve

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")
TOKEN = "a-token-for-the-operators"
FOOT = "document.querySelector('.foot')"
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

    shown = tab.evaluate(f"{FOOT}.textContent")
    tab.wait_for(f"{FOOT}.textContent !== `{shown}`")

    assert tab.evaluate("document.querySelector('[role=status]').id") == "state"
    assert tab.evaluate("window.changed") is None


def test_the_page_shows_a_lost_service(service: Server, tab: Browser) -> None:
    """If the service does not respond, the page says so, fades, retries, and recovers."""
    look = "[document.title, getComputedStyle(document.querySelector('#components')).color]"
    with Proxy(service.port).running() as network:
        tab.open(f"http://127.0.0.1:{network.port}/")
        tab.wait_for(f"{HEADLINE} === 'Groundwork is up'")
        looks = [tab.evaluate(look)]

        network.set("refuse")
        tab.wait_for(f"{HEADLINE} === 'Groundwork is not responding'")
        looks.append(tab.evaluate(look))
        network.set("pass")
        tab.wait_for(f"{HEADLINE} === 'Groundwork is up'")
        looks.append(tab.evaluate(look))

    assert [title for title, _ in looks] == [
        "Groundwork is up",
        "Groundwork is not responding",
        "Groundwork is up",
    ]
    assert looks[0][1] == looks[2][1] != looks[1][1]


def test_the_page_prompts_for_the_token(cluster: Cluster, tab: Browser) -> None:
    """After one challenge the browser sends the token with each request."""
    rows = "document.querySelectorAll('.components li').length"
    production = {"ENVIRONMENT": "production", "SECRET_KEY": "x" * 32, "OPS_TOKEN": TOKEN}
    with serve(DATABASE_URL=cluster.url(), **production) as service:
        shown = []
        for user in ("", f"operator:{TOKEN}@", ""):
            tab.open(f"http://{user}127.0.0.1:{service.port}/{'?details' if user else ''}")
            shown.append(tab.evaluate(rows))
        tab.evaluate("document.querySelector('.components').remove()")
        tab.wait_for(f"{rows} === 4")  # the refresh restores them

    assert shown == [0, 4, 4]


def test_the_page_works_without_scripts(service: Server, tab: Browser) -> None:
    """With scripts disabled, the browser reloads the page by itself."""
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(f"http://127.0.0.1:{service.port}/")

    refresh = "document.querySelector('head noscript meta[http-equiv=refresh]')"
    assert tab.evaluate(f"{refresh}.content") == "15"
    assert tab.evaluate(HEADLINE).startswith("Groundwork is ")
