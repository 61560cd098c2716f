"""What `deploy/` asks Prometheus: the dashboard's queries and the alerts' expressions."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
CONFIGURATION = ROOT / "deploy" / "prometheus" / "prometheus.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "tts-service.json"
GUIDE = ROOT / "docs" / "metrics.md"

# What a dashboard's user chooses, as Grafana would put it in.
_CHOSEN = {"$__rate_interval": "1m", "$instance": ".*", "$engine": ".*"}
_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<labels>.*?) \|", re.M)
# Prometheus gives each series these; a histogram's buckets have `le`.
_ALWAYS = {"job", "instance"}


@dataclass(frozen=True)
class Query:
    """An expression and where it stands."""

    where: str
    expression: str


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def dashboard_queries() -> list[Query]:
    """All queries of the dashboard."""
    return [
        Query(f"panel {panel['title']!r}", _chosen(target["expr"]))
        for panel in panels()
        for target in panel.get("targets", ())
    ]


def alerts() -> list[dict[str, Any]]:
    """The alerting rules."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alert_queries() -> list[Query]:
    """The expressions of all alerts."""
    return [Query(f"alert {rule['alert']}", rule["expr"]) for rule in alerts()]


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yields the name of each series that is asked for, with the labels that it is chosen by.

    Raises:
        ValueError: it is no PromQL.
    """
    found: list[tuple[str, set[str]]] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name or "", {m.name for m in node.matchers.matchers}))

    promql_parser.walk(promql_parser.parse(expression), pre_visit=visit)
    yield from found


def listed_series() -> dict[str, set[str]]:
    """The labels of each series that the guide lists, those that Prometheus adds included.

    A histogram is three series.
    """
    series: dict[str, set[str]] = {"up": set(_ALWAYS)}
    for row in _ROW.finditer(GUIDE.read_text()):
        labels = _ALWAYS | set(re.findall(r"`(\w+)`", row["labels"]))
        if row["type"] == "histogram":
            series |= {f"{row['name']}_{part}": labels for part in ("sum", "count")}
            series[f"{row['name']}_bucket"] = labels | {"le"}
        else:
            series[row["name"]] = labels
    return series


def _chosen(expression: str) -> str:
    for name, value in _CHOSEN.items():
        expression = expression.replace(name, value)
    return expression
