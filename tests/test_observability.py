"""The alerts and the dashboard ask for what /metrics has."""

import json
import re
from pathlib import Path

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

FOLDER = Path(__file__).parents[1] / "deploy/observability"
METRIC = re.compile(r"\b(?:groundwork|process|http_server|db_client)_[a-z_]+")
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}


async def exposed(client: httpx.AsyncClient) -> set[str]:
    """Return the names of all samples there may be."""
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    return {f"{family.name}{suffix}" for family in families for suffix in SUFFIXES[family.type]}


async def test_alerts_ask_for_metrics_there_are(client: httpx.AsyncClient) -> None:
    """Each alert has an expression over known metrics, and says what is wrong."""
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]

    for rule in rules:
        assert set(METRIC.findall(rule["expr"])) <= await exposed(client)
        assert rule["annotations"]["summary"]


async def test_the_dashboard_asks_for_metrics_there_are(client: httpx.AsyncClient) -> None:
    """Each panel draws known metrics, and no two overlap."""
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]

    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    for panel in panels:
        names = set(METRIC.findall(panel["targets"][0]["expr"]))
        assert names
        assert names <= await exposed(client)
