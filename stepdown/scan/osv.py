"""A small OSV service over a local set of advisories, for the time of one scan, on the loopback interface alone.

Formats: https://ossf.github.io/osv-schema/ for advisories, https://google.github.io/osv.dev/post-v1-query/ for the API.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from stepdown.scan.pins import normal

ECOSYSTEM = "PyPI"
BODY_BYTES = 64 * 1024
# PEP 440, appendix B, without what only loose spellings need.
VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)(?:[-_.]?(?P<pre>a|b|c|rc|alpha|beta|pre|preview)[-_.]?(?P<pren>\d*))?"
    r"(?P<post>(?:-(?P<postm>\d+))|(?:[-_.]?(?:post|rev|r)[-_.]?(?P<postn>\d*)))?(?:[-_.]?(?P<dev>dev)[-_.]?(?P<devn>\d*))?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?"
)
PRE = {"a": "a", "alpha": "a", "b": "b", "beta": "b", "c": "rc", "rc": "rc", "pre": "rc", "preview": "rc"}

Known = Mapping[str, list[dict[str, Any]]]  # normalised name of a package to its advisories


class InvalidSetError(Exception):
    """The set of advisories cannot be used; the message says where."""


def read_set(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The advisories about Python packages in the files below `folder`. Raises InvalidSetError for what is none."""
    known: dict[str, list[dict[str, Any]]] = {}
    files = sorted(folder.rglob("*.json"))
    for file in files:
        try:
            advisory = json.loads(file.read_bytes())
            names = {
                normal(part["package"]["name"])
                for part in advisory.get("affected", ())
                if part.get("package", {}).get("ecosystem") == ECOSYSTEM
            }
            advisory["id"], advisory["modified"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidSetError(f"{file.name} is no OSV advisory") from error
        if not advisory.get("withdrawn"):
            for name in names:
                known.setdefault(name, []).append(advisory)
    if not files:
        raise InvalidSetError("it holds no advisory")
    return known


def about(known: Known, name: str, version: str) -> list[dict[str, Any]]:
    """The advisories that this version of the package is affected by."""
    return [advisory for advisory in known.get(normal(name), ()) if _affects(advisory, normal(name), version)]


def _affects(advisory: Mapping[str, Any], name: str, version: str) -> bool:
    for part in advisory["affected"]:
        package = part.get("package", {})
        if package.get("ecosystem") != ECOSYSTEM or normal(package["name"]) != name:
            continue
        key = version_key(version)
        listed = {version_key(one) or one for one in part.get("versions", ())}
        if version in part.get("versions", ()) or (key or version) in listed:
            return True
        ranges = [one["events"] for one in part.get("ranges", ()) if one.get("type") == "ECOSYSTEM"]
        if any(_inside(events, key) for events in ranges):
            return True
    return False


def _inside(events: list[Mapping[str, str]], version: tuple[Any, ...] | None) -> bool:
    """Whether a range of events holds the version; what cannot be compared is taken for affected."""
    points = []
    for event in events:
        for kind, text in event.items():
            key = version_key(text)
            if version is None or key is None:
                return True
            points.append((key, kind))
    inside = False
    for point, kind in sorted(points):
        if version is None:
            return True
        if kind == "introduced" and version >= point:
            inside = True
        elif (kind == "fixed" and version >= point) or (kind == "last_affected" and version > point):
            inside = False
    return inside


def version_key(text: str) -> tuple[Any, ...] | None:
    """Sorts as PEP 440 orders versions, local parts aside; None for what is no version."""
    match = VERSION.fullmatch(text.strip().lower())
    if match is None:
        return None
    release = tuple(int(part) for part in match["release"].split("."))
    while len(release) > 1 and release[-1] == 0:
        release = release[:-1]
    dev = (0, int(match["devn"] or 0)) if match["dev"] else (1, 0)
    post = (1, int(match["postm"] or match["postn"] or 0)) if match["post"] else (0, 0)
    if match["pre"]:
        pre: tuple[Any, ...] = (1, PRE[match["pre"]], int(match["pren"] or 0))
    else:  # 1.0.dev1 comes before 1.0a1, 1.0 after all of them
        pre = (0, "", 0) if match["dev"] and not match["post"] else (2, "", 0)
    return (int(match["epoch"] or 0), release, pre, post, dev)


@contextmanager
def served(known: Known) -> Iterator[str]:
    """The URL of a service that answers from `known` until the block ends."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                length = int(self.headers.get("Content-Length", "0"))
                asked = json.loads(self.rfile.read(min(length, BODY_BYTES)))
                package = asked["package"]
                found = about(known, package["name"], asked["version"]) if package["ecosystem"] == ECOSYSTEM else []
            except (ValueError, KeyError, TypeError, AttributeError):
                self.send_error(400)
                return
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's word
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
