"""Figures for Prometheus: bounded labels, and a failed scan that does not read as a clean one."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stepdown.scan.metrics import DURATION, FINDINGS, KEPT, LAST_SUCCESS, Metrics, push, repository_label, text_of
from tests.unit.scan.made import finding, outcome, result


def _samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Values by name and sorted label values, as a reader of the text sees them."""
    return {
        (s.name, tuple(value for _, value in sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text_of(metrics).decode())
        for s in family.samples
    }


def test_findings_are_counted_by_severity_tool_and_repository() -> None:
    """Zeros too, so that a gauge falls when a finding is fixed."""
    metrics = Metrics()
    metrics.record("shop", result(finding(), finding("1", severity="low")), 3.0, judged=True, ended=1000.0)
    samples = _samples(metrics)
    assert (1, 0, 1, 1000.0) == (
        samples[FINDINGS, ("shop", "high", "one")],
        samples[FINDINGS, ("shop", "medium", "one")],
        samples[FINDINGS, ("shop", "low", "one")],
        samples[LAST_SUCCESS, ("shop",)],
    )
    assert (0, 1, 1, 3.0) == (
        samples[f"{DURATION}_bucket", ("2.5", "shop")],
        samples[f"{DURATION}_bucket", ("5", "shop")],
        samples[f"{DURATION}_count", ("shop",)],
        samples[f"{DURATION}_sum", ("shop",)],
    )


def test_a_scanner_that_failed_has_no_figure() -> None:
    """Neither 0 nor that of the last scan, and the last success stays where it was."""
    metrics = Metrics()
    metrics.record("shop", result(finding()), 1.0, judged=True, ended=1000.0)
    metrics.record("shop", result(scanners=(outcome(outcome="failed"),)), 1.0, judged=False, ended=2000.0)
    samples = _samples(metrics)
    assert 1000.0 == samples[LAST_SUCCESS, ("shop",)]
    assert [] == [key for key in samples if key[0] == FINDINGS]


def test_a_run_goes_on_from_the_textfile_of_the_one_before() -> None:
    """Counts grow, the last success outlives a failure, findings of unknown tools go."""
    before = Metrics()
    both = result(finding(), scanners=(outcome("one"), outcome("gone")))
    before.record("shop", both, 3.0, judged=True, ended=1000.0)
    after = Metrics()
    after.take_over(text_of(before).decode(), ["one"])
    after.record("shop", None, 4.0, judged=False)
    samples = _samples(after)
    assert (2, 7.0, 1000.0) == (
        samples[f"{DURATION}_count", ("shop",)],
        samples[f"{DURATION}_sum", ("shop",)],
        samples[LAST_SUCCESS, ("shop",)],
    )
    assert {"one"} == {key[1][2] for key in samples if key[0] == FINDINGS}


@pytest.mark.parametrize("text", ["", "no metrics {", f"{LAST_SUCCESS} x", f'{DURATION}_bucket{{le="7"}} 1'])
def test_a_textfile_that_is_none_changes_nothing(text: str) -> None:
    """A broken file must not end a scan."""
    metrics = Metrics()
    metrics.take_over(text, ["one"])
    assert text_of(Metrics()) == text_of(metrics)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("/srv/shop", "shop"),
        ("git@host.example:team/shop.git", "shop"),
        ("https://user:secret@host.example/team/shop.git?x=1", "shop"),
        ('a"b\n{c}', "a-b-c"),
        ("/", "repository"),
        ("..", "repository"),
        ("x" * 99, "x" * 64),
    ],
)
def test_a_repository_is_a_short_plain_label(name: str, label: str) -> None:
    """Without user, secret, host or anything that a query would stumble on."""
    assert label == repository_label(name)


def test_labels_are_bounded() -> None:
    """However many folders are scanned."""
    metrics = Metrics()
    for number in range(KEPT + 10):
        metrics.record(f"r{number}", result(), 1.0, judged=True)
    names = {key[1][0] for key in _samples(metrics) if key[0] == LAST_SUCCESS}
    assert (KEPT + 1, True) == (len(names), "other" in names)


@contextmanager
def _gateway(code: int) -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """A Pushgateway's door: its address, and what it was sent."""
    got: list[tuple[str, str, bytes]] = []

    class Door(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.command, self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


def test_figures_are_pushed_without_taking_others_away() -> None:
    """POST replaces only the names that are sent."""
    metrics = Metrics()
    metrics.record("shop", result(finding()), 1.0, judged=True)
    with _gateway(202) as (address, got):
        assert [] == push(metrics, address, "shop")
    assert [("POST", "/metrics/job/security_scan/repository/shop")] == [one[:2] for one in got]
    assert text_of(metrics) == got[0][2]


def test_a_pushgateway_that_refuses_or_is_not_there_is_only_said() -> None:
    """In one line, without its address, which may hold a password."""
    with _gateway(500) as (address, _):
        refused = push(Metrics(), address, "shop")
    gone = push(Metrics(), address, "shop")
    assert ["the Pushgateway did not take the figures: HTTPError"] == refused
    assert ["the Pushgateway did not take the figures: URLError"] == gone
