"""Alerts and dashboard query metrics that exist; the alerts have unit tests and runbooks."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

CHECKOUT = Path(__file__).parents[1]
FOLDER = CHECKOUT / "deploy/observability"
METRIC = re.compile(r"\b(?:groundwork|process|http_server|db_client|cnpg|barman_cloud)_[a-z_]+")
LABEL = re.compile(r"\b(?:http|db)_[a-z_]+(?=[=!,)])")
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
# What deploy/compose/backup and the operator of the database export.
BACKUP = {
    "groundwork_backup_last_success_timestamp_seconds",
    "cnpg_collector_last_available_backup_timestamp",
    "barman_cloud_cloudnative_pg_io_last_available_backup_timestamp",
}
ALERTS = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
UNIT_TESTS = [
    test
    for file in sorted(FOLDER.glob("*.test.yaml"))
    for test in yaml.safe_load(file.read_text())["tests"]
]
PANELS = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=[rule["alert"] for rule in ALERTS])


def metrics(expression: str) -> set[str]:
    """Return the names of the metrics in an expression, without those of its labels."""
    return set(METRIC.findall(expression)) - set(LABEL.findall(expression))


async def exposed(client: httpx.AsyncClient) -> set[str]:
    """Return the names of all samples that /metrics may have."""
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    return {f"{family.name}{suffix}" for family in families for suffix in SUFFIXES[family.type]}


async def test_queried_metrics_exist(client: httpx.AsyncClient) -> None:
    """Each metric of an alert or a panel is in a scrape, or exported by the backups."""
    known = BACKUP | await exposed(client)

    queries = [*(rule["expr"] for rule in ALERTS), *QUERIES]
    assert {query: metrics(query) - known for query in queries if metrics(query) - known} == {}


async def test_queried_labels_exist(client: httpx.AsyncClient) -> None:
    """Each label of HTTP and of the database that is queried is on a metric."""
    await client.get("/health/details")
    scrape = (await client.get("/metrics")).text

    names = {name for query in [*QUERIES, *map(str, ALERTS)] for name in LABEL.findall(query)}
    assert {"http_route", "db_query_summary"} < names
    assert [name for name in names if f'{name}="' not in scrape] == []


@pytest.mark.parametrize("query", [*(rule["expr"] for rule in ALERTS), *QUERIES])
def test_a_query_reads_the_service_only(query: str) -> None:
    """Other services have metrics of the same names, so each selector names the job."""
    names = metrics(query) - BACKUP
    selectors = re.findall(rf"\b(?:{'|'.join(names) or 'none'})\b(.{{0,17}})", query)

    assert set(selectors) <= {'{job="groundwork"'}


@each_alert
def test_an_alert_is_on_the_dashboard(alert: dict[str, Any]) -> None:
    """The dashboard has a panel for every metric that an alert queries."""
    assert metrics(alert["expr"]) <= {name for query in QUERIES for name in metrics(query)}


@each_alert
def test_an_alert_has_a_runbook(alert: dict[str, Any]) -> None:
    """The link leads to the section of docs/operations.md that is named after the alert."""
    file, _, anchor = alert["annotations"]["runbook_url"].rpartition("/")[2].partition("#")

    assert (file, anchor) == ("operations.md", alert["alert"].lower())
    assert f"\n### {alert['alert']}\n" in (CHECKOUT / "docs" / file).read_text()


@each_alert
def test_an_alert_has_unit_tests(alert: dict[str, Any]) -> None:
    """One test says when it fires, and one when it does not."""
    checks = [
        check
        for test in UNIT_TESTS
        for check in test["alert_rule_test"]
        if check["alertname"] == alert["alert"]
    ]

    assert {bool(check.get("exp_alerts")) for check in checks} == {True, False}


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool, which CI installs")
@pytest.mark.parametrize(
    "arguments",
    [["check", "alerts.yaml"], ["test", "alerts.test.yaml"], ["test", "backups.test.yaml"]],
)
def test_prometheus_accepts_the_alerts(arguments: list[str]) -> None:
    """Promtool finds no error in the rules, and their unit tests pass."""
    subcommand, file = arguments
    done = subprocess.run(
        ["promtool", subcommand, "rules", file],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_no_two_panels_overlap() -> None:
    """Each cell of the dashboard's grid belongs to one panel."""
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))
