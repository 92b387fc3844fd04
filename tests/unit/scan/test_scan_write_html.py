"""The page: everything in it, nothing fetched, and hostile text is only text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from stepdown.scan.baseline import Applied
from stepdown.scan.findings import NotJudged
from stepdown.scan.verdict import judge
from stepdown.scan.write_html import html
from tests.unit.scan.made import entry, finding, outcome, result

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e&amp;"


class _Page(HTMLParser):
    """Tags in order with their attributes, and the text between them."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def _page(*findings: object, hostile: str = "plain") -> _Page:
    scanned = result(
        *findings,  # type: ignore[arg-type]
        scanners=(outcome(), outcome("two", outcome="failed", reason=hostile)),
        not_judged=[NotJudged(hostile, hostile, None)],
    )
    accepted = {"9" * 32: entry("9", reason=hostile)}
    return _Page(html(scanned, judge(scanned, Applied(accepted), "high"), accepted, hostile))


def test_hostile_text_makes_no_tag() -> None:
    """In every field that a tree, a message or a baseline can fill."""
    fields = {"path": HOSTILE, "message": HOSTILE, "rule": HOSTILE, "help_uri": HOSTILE, "commit": HOSTILE}
    plain, hostile = (
        _page(finding(), finding("9")),
        _page(finding(**fields, scanners=("one",)), finding("9", **fields), hostile=HOSTILE),
    )
    more = [("br", {}), ("span", {"class": "soft"})]  # of the commit
    assert [tag for tag in plain.tags if tag not in more] == [tag for tag in hostile.tags if tag not in more]
    assert "<script>alert(1)</script>" in hostile.words and "\u202e" not in hostile.words


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("https://example.org/r", ["https://example.org/r"]),
        ("javascript:alert(1)", []),
        ("data:text/html,x", []),
        ("//example.org", []),
        ("https://[", []),
        (None, []),
    ],
)
def test_only_web_pages_become_links(link: str | None, shown: list[str]) -> None:
    """Any other scheme could run something."""
    assert shown == [attributes["href"] for tag, attributes in _page(finding(help_uri=link)).tags if tag == "a"]


def test_nothing_is_fetched_and_only_the_page_s_own_script_may_run() -> None:
    """By the page's own policy, and by having nothing to fetch."""
    page = _page(finding())
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none';") and "script-src 'sha256-" in policy
    assert [] == [t for t, a in page.tags if t in ("link", "img", "iframe") or "src" in a or "onclick" in a]


def test_each_finding_says_what_the_filters_need() -> None:
    """Severity and scanners of every row; accepted ones with their reason."""
    page = _page(finding("1", scanners=("one", "two")), finding("9", severity="low"))
    rows = [(a["class"], a["data-severity"], a["data-tools"]) for t, a in page.tags if t == "tr" and "data-tools" in a]
    assert [("high", "high", "one two"), ("low accepted", "low", "one")] == rows
    assert "accepted by platform until 2030-06-15: plain" in page.words
