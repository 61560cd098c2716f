"""What Prometheus itself says of the metrics, the alerts and the dashboard's queries."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.contract.test_metrics import scrape, speak_twice
from tests.metric_queries import (
    ALERTS,
    CONFIGURATION,
    Query,
    alert_queries,
    alerts,
    dashboard_queries,
    selectors,
)
from tests.server_process import ServerProcess, running_server
from tests.speech import speak

pytestmark = pytest.mark.external

_ALERT_TESTS = Path(__file__).with_name("alerts_test.yml")
_LISTENING = re.compile(r'msg="Listening on".*address=(?:\[::\]|[\d.]+):(\d+)')

_READY = "Server is ready to receive web requests"


def promtool(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.fail("promtool is missing: `make tools`")
    return subprocess.run(
        ["promtool", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Prometheus:
    """A running Prometheus."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer of its HTTP API."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        assert "warnings" not in answer, answer
        return answer["data"]

    def ask(self, expression: str) -> list[Any]:
        """The samples that an expression yields now."""
        data = self.get("query", query=expression)
        assert data["resultType"] == "vector", expression
        return list(data["result"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that has spoken."""
    with (
        running_server(
            tmp_path_factory.mktemp("server"),
            *("--engine", "tone"),
            environment={"TTS_METRICS_LISTEN": "127.0.0.1:0"},
            keeps_speech=True,
        ) as server,
        server.stub() as stub,
    ):
        speak_twice(stub, "tone-high")
        yield server


@pytest.fixture(scope="module")
def prometheus(
    server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus with our configuration and our alerts, in a hurry, looking at the server."""
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    configuration["global"] = {"scrape_interval": "250ms", "evaluation_interval": "250ms"}
    (job,) = configuration["scrape_configs"]
    job["static_configs"] = [{"targets": [urlsplit(server.metrics_url).netloc]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    (folder / ALERTS.name).write_text(ALERTS.read_text())
    log = folder / "log"
    if shutil.which("prometheus") is None:
        pytest.fail("prometheus is missing: `make tools`")
    command = [
        *("prometheus", f"--config.file={folder}/prometheus.yml"),
        *(f"--storage.tsdb.path={folder}/data", "--web.listen-address=127.0.0.1:0"),
    ]
    with log.open("w") as output, subprocess.Popen(command, stderr=output) as process:
        try:
            yield Prometheus(f"127.0.0.1:{_port(process, log)}")
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s and process.poll() is None:
        said = log.read_text()
        if (match := _LISTENING.search(said)) is not None and _READY in said:
            return int(match[1])
        time.sleep(0.05)
    pytest.fail(f"prometheus did not start:\n{log.read_text()}")


def _wait_for_scrapes(prometheus: Prometheus, count: int) -> None:
    """Waits until it has read the server so often since now."""

    def read() -> float:
        samples = prometheus.ask('count_over_time(up{job="tts-service"}[10m])')
        return float(samples[0]["value"][1]) if samples else 0.0

    wanted, end_s = read() + count, time.monotonic() + 30
    while read() < wanted:
        assert time.monotonic() < end_s, "it does not read the server"
        time.sleep(0.1)


def test_promtool_finds_no_fault_with_what_is_read(server: ServerProcess) -> None:
    result = promtool("check", "metrics", stdin=scrape(server))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_promtool_finds_no_fault_with_the_configuration_and_the_alerts() -> None:
    result = promtool("check", "config", "--lint-fatal", CONFIGURATION)
    assert result.returncode == 0, result.stderr
    assert f"{len(alerts())} rules found" in result.stdout


def test_alerts_fire_for_who_is_ill_and_for_nobody_else() -> None:
    result = promtool("test", "rules", _ALERT_TESTS)
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_alert_is_tested_both_ways() -> None:
    quiet, firing = set(), set()
    for case in yaml.safe_load(_ALERT_TESTS.read_text())["tests"]:
        for test in case["promql_expr_test"]:
            (name,) = re.findall(r'alertname="(\w+)", alertstate="firing"', test["expr"])
            (firing if test.get("exp_samples") else quiet).add(name)
    names = {rule["alert"] for rule in alerts()}
    assert quiet == names
    assert firing == names


def test_prometheus_answers_every_query_of_the_dashboard_and_the_alerts(
    server: ServerProcess, prometheus: Prometheus
) -> None:
    counted = {line.partition("{")[0].split(" ")[0] for line in scrape(server).splitlines()}
    counted.add("up")
    _wait_for_scrapes(prometheus, 2)
    with server.stub() as stub:
        for number in range(3):
            speak(stub, text=f"Something new, number {number}.", voice="tone-low")
    _wait_for_scrapes(prometheus, 2)

    def has_data(query: Query) -> bool:
        """Whether what it asks for was counted, and so has to be found."""
        return {name for name, _ in selectors(query.expression)} <= counted

    found = {query: prometheus.ask(query.expression) for query in dashboard_queries()}
    assert sum(map(has_data, found)) > 40
    assert [query for query, samples in found.items() if has_data(query) and not samples] == []
    # An alert's expression yields what is ill: here it has to be asked for without complaint.
    for query in alert_queries():
        prometheus.ask(query.expression)


def test_prometheus_sees_a_healthy_server_and_rules_that_work(
    server: ServerProcess, prometheus: Prometheus
) -> None:
    _wait_for_scrapes(prometheus, 2)
    (target,) = prometheus.get("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert target["labels"]["job"] == "tts-service"
    end_s = time.monotonic() + 20
    while True:
        (group,) = prometheus.get("rules")["groups"]
        if all(rule["health"] != "unknown" for rule in group["rules"]):
            break
        assert time.monotonic() < end_s, "the rules are never looked at"
        time.sleep(0.1)
    assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in alerts()]
    assert {(rule["health"], rule.get("lastError", "")) for rule in group["rules"]} == {("ok", "")}
    # Room on the disk is the machine's matter.
    firing = {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}
    assert firing <= {"TtsDiskNearlyFull"}
