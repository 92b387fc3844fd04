"""The local OSV service knows which versions an advisory is about."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from stepdown.scan.osv import InvalidSetError, about, read_set, served, version_key


def _advisory(*events: dict[str, str], versions: list[str] | None = None, **more: Any) -> dict[str, Any]:
    part: dict[str, Any] = {"package": {"ecosystem": "PyPI", "name": "Some.Package"}, "versions": versions or []}
    if events:
        part["ranges"] = [{"type": "ECOSYSTEM", "events": list(events)}]
    return {"id": "X-1", "modified": "2026-01-01T00:00:00Z", "affected": [part], **more}


@pytest.mark.parametrize(
    ("advisory", "version", "affected"),
    [
        (_advisory({"introduced": "0"}, {"fixed": "2.0"}), "1.9", True),
        (_advisory({"introduced": "0"}, {"fixed": "2.0"}), "2.0", False),
        (_advisory({"introduced": "0"}, {"fixed": "2.0"}), "2.0rc1", True),
        (_advisory({"introduced": "1.0"}, {"last_affected": "2.0"}), "2.0.0", True),
        (_advisory({"introduced": "1.0"}, {"last_affected": "2.0"}), "2.0.1", False),
        (_advisory({"introduced": "1"}, {"fixed": "2"}, {"introduced": "3"}), "2.5", False),
        (_advisory({"fixed": "2"}, {"introduced": "3"}, {"introduced": "1"}), "3.1", True),
        (_advisory(versions=["1.0"]), "1.0.0", True),
        (_advisory(versions=["1.0"]), "1.1", False),
        (_advisory({"introduced": "0"}, {"fixed": "2.0"}), "no version", True),
    ],
)
def test_a_version_is_affected_or_not(advisory: dict[str, Any], version: str, affected: bool) -> None:
    """By list and by range; what cannot be compared is taken for affected."""
    assert affected == bool(about({"some-package": [advisory]}, "some_package", version))


VERSIONS = st.from_regex(r"\A([0-9]!)?[0-9](\.[0-9]){0,3}((a|b|rc)[0-9])?(\.post[0-9])?(\.dev[0-9])?\Z")


@given(VERSIONS, VERSIONS)
def test_versions_are_ordered_as_python_orders_them(one: str, two: str) -> None:
    """PEP 440, as the packaging library reads it."""
    first, second = version_key(one), version_key(two)
    assert first is not None and second is not None
    assert (Version(one) < Version(two), Version(one) == Version(two)) == (first < second, first == second)


def test_a_set_leaves_out_what_was_withdrawn_and_other_languages(tmp_path: Path) -> None:
    """And finds advisories in folders below, as an export unpacks."""
    other = _advisory({"introduced": "0"})
    other["affected"][0]["package"]["ecosystem"] = "npm"
    documents = {"a": _advisory({"introduced": "0"}), "b": _advisory(withdrawn="2026-01-02T00:00:00Z"), "c": other}
    (tmp_path / "PyPI").mkdir()
    for name, document in documents.items():
        (tmp_path / "PyPI" / f"{name}.json").write_text(json.dumps(document))
    assert {"some-package": [documents["a"]]} == read_set(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": "X"}', '{"id": "X", "modified": "y", "affected": [1]}'])
def test_a_set_with_a_broken_advisory_is_no_set(tmp_path: Path, text: str) -> None:
    """Half a set would look like a whole one."""
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InvalidSetError, match=r"x\.json is no OSV advisory"):
        read_set(tmp_path)


def test_an_empty_set_is_no_set(tmp_path: Path) -> None:
    """It would find nothing in anything."""
    with pytest.raises(InvalidSetError, match="holds no advisory"):
        read_set(tmp_path)


def test_the_service_answers_on_loopback_and_is_gone_afterwards() -> None:
    """As api.osv.dev does: no `vulns` where there is none."""
    with served({"some-package": [_advisory({"introduced": "0"}, {"fixed": "2"})]}) as url:
        assert url.startswith("http://127.0.0.1:")
        answers = [_ask(url, "Some-Package", version) for version in ("1", "2")]
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(url, b"{}", timeout=5)
    assert [["X-1"], None] == [[v["id"] for v in a["vulns"]] if "vulns" in a else None for a in answers]
    with pytest.raises(urllib.error.URLError):
        _ask(url, "x", "1")


def _ask(url: str, name: str, version: str) -> dict[str, Any]:
    body = json.dumps({"package": {"name": name, "ecosystem": "PyPI"}, "version": version}).encode()
    with urllib.request.urlopen(url, body, timeout=5) as answer:
        document: dict[str, Any] = json.load(answer)
        return document
