"""One page of a scan for a browser: everything in it, nothing fetched, readable without its script. Pure.

Names of files and messages are hostile: all of them pass `_text`, and the page's own policy lets no script run but the
one that is part of this package.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Mapping
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from stepdown.scan.baseline import Entry
from stepdown.scan.findings import FINDINGS_SHOWN, SEVERITIES, Finding, ScanResult
from stepdown.scan.verdict import Verdict, summary
from stepdown.scan.write_text import coverage, package_of, printable

STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
SCRIPT = Path(__file__).with_name("report.js").read_text(encoding="utf-8")
PLACES_SHOWN = 1000


def html(result: ScanResult, verdict: Verdict, accepted: Mapping[str, Entry], subject: str) -> bytes:
    """The page, UTF-8; `subject` names what was scanned."""
    script_hash = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'"
    body = "\n".join(
        (
            _header(result, verdict, subject),
            _findings(result, accepted),
            _reasons("Could not judge", verdict.not_judged),
            _reasons("Does not pass", verdict.bad),
            _reasons("To know besides", verdict.aloud),
            _scanners(result),
            _places(result),
        )
    )
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(policy, quote=True)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{_text(f"Security scan of {subject}: {verdict.word}")}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""
    return page.encode("utf-8", "replace")


def _text(text: str) -> str:
    return escape(printable(text), quote=True)


def _header(result: ScanResult, verdict: Verdict, subject: str) -> str:
    score = result.max_score()
    highest = "no scanner gave a CVSS score" if score is None else f"highest CVSS score {score:g}"
    return f"""<header class="v{verdict.exit_code}">
<h1>Security scan of {_text(subject)}: <span>{_text(verdict.word)}</span></h1>
<p>{_text(summary(verdict).partition(": ")[2])}</p>
<p class="soft">{_text(coverage(result))}; {highest}</p>
</header>"""


def _findings(result: ScanResult, accepted: Mapping[str, Entry]) -> str:
    findings = sorted(result.findings, key=lambda finding: finding.fingerprint in accepted)  # open ones first
    shown = findings[:FINDINGS_SHOWN]
    if not shown:
        return "<h2>Findings</h2><p>None.</p>"
    tiles = "".join(_tile(word, result.findings, accepted) for word in SEVERITIES)
    names = sorted({name for finding in shown for name in finding.scanners})
    options = "".join(f'<option value="{_text(name)}">{_text(name)}</option>' for name in names)
    cut = (
        f"<p>The worst {len(shown)} of {len(result.findings)} are shown.</p>"
        if len(shown) < len(result.findings)
        else ""
    )
    rows = "\n".join(_row(finding, accepted.get(finding.fingerprint)) for finding in shown)
    return f"""<h2>Findings</h2>
<div id="filters" hidden>
<div class="tiles">{tiles}</div>
<div class="filters">
<select id="tool" aria-label="Scanner"><option value="">every scanner</option>{options}</select>
<input id="words" type="search" placeholder="path, rule or words" aria-label="Path, rule or words">
<label><input id="accepted" type="checkbox" checked> accepted ones too</label>
<span id="shown" class="soft" role="status"></span>
</div>
</div>
{cut}<div class="wide"><table>
<thead><tr><th>Severity</th><th>Where</th><th>What</th><th>Found by</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>"""


def _tile(word: str, findings: Iterable[Finding], accepted: Collection[str]) -> str:
    """How many are open, and the filter by severity."""
    is_open = [finding.fingerprint not in accepted for finding in findings if finding.severity == word]
    number, others = is_open.count(True), is_open.count(False)
    more = f" <small>{others} accepted</small>" if others else ""
    tile = f'<button type="button" class="{word}" data-severity="{word}" aria-pressed="true">'
    return f"{tile}<b>{number}</b>{word}{more}</button>"


def _row(finding: Finding, entry: Entry | None) -> str:
    place = f"{finding.path}:{finding.start_line}" if finding.start_line else finding.path
    commit = f'<br><span class="soft">commit {_text(finding.commit[:12])}</span>' if finding.commit else ""
    score = "" if finding.score is None else f'<br><span class="soft">CVSS {finding.score:g}</span>'
    if entry:
        until = f"accepted by {entry.who} until {entry.expires}: {entry.reason}"
        why = f'<br><span class="soft">{_text(until)}</span>'
    else:
        why = ""
    package = f"<br>{_text(package_of(finding))}" if finding.package else ""
    tools = " ".join(finding.scanners)
    return (
        f'<tr class="{finding.severity}{" accepted" if entry else ""}" data-severity="{finding.severity}"'
        f' data-tools="{_text(tools)}">'
        f'<td><span class="badge">{finding.severity}</span>{score}</td>'
        f"<td><code>{_text(place)}</code>{commit}</td>"
        f'<td class="message"><code>{_rule(finding)}</code><br>{_text(finding.message)}{package}{why}'
        f'<br><span class="soft"><code>{_text(finding.fingerprint)}</code></span></td>'
        f"<td>{_text(', '.join(finding.scanners))}</td></tr>"
    )


def _rule(finding: Finding) -> str:
    """The rule, as a link where its scanner gave one that is a web page; any other scheme could run something."""
    link = finding.help_uri or ""
    try:
        scheme = urlsplit(link).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("http", "https"):
        return _text(finding.rule)
    return f'<a href="{_text(link)}" rel="noreferrer noopener">{_text(finding.rule)}</a>'


def _reasons(title: str, reasons: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(reason)}</li>" for reason in reasons)
    return f"<h2>{title}</h2>\n<ul>{items}</ul>" if items else ""


def _scanners(result: ScanResult) -> str:
    rows = "\n".join(
        f"<tr><td>{_text(one.name)}</td><td>{_text(one.version)}</td><td>{one.outcome}</td>"
        f'<td class="number">{one.findings}</td><td class="number">{one.files_judged} of {one.files_expected}</td>'
        f'<td class="number">{one.seconds:.1f} s</td><td class="message">{_text(one.reason or "")}</td></tr>'
        for one in result.scanners
    )
    return f"""<h2>Scanners</h2>
<div class="wide"><table>
<thead><tr><th>Scanner</th><th>Version</th><th>Outcome</th><th class="number">Findings</th>
<th class="number">Files judged</th><th class="number">Time</th><th>Reason</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>"""


def _places(result: ScanResult) -> str:
    shown = result.not_judged[:PLACES_SHOWN]
    if not shown:
        return ""
    rows = "\n".join(
        f"<tr><td><code>{_text(place.path)}</code></td><td>{_text(place.reason)}</td>"
        f"<td>{_text(place.scanner or 'every scanner')}</td></tr>"
        for place in shown
    )
    return f"""<h2>Places that were not judged</h2>
<p class="soft">{len(shown)} of {len(result.not_judged)} shown.</p>
<div class="wide"><table>
<thead><tr><th>Place</th><th>Why</th><th>Not judged by</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>"""
