"""What is left of a scan: reports in a folder, figures for Prometheus."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from stepdown.run import run
from stepdown.scan import metrics, write_files, write_html, write_json, write_sarif
from stepdown.scan.assess import Assessment, Request
from stepdown.scan.verdict import NOT_JUDGED

PUSHGATEWAY = "STEPDOWN_PUSHGATEWAY"
PAGE, DOCUMENT, MERGED, FIGURES = "security.html", "security.json", "security.sarif", "security.prom"


def write(
    done: Assessment,
    request: Request,
    output: Path,
    *,
    scanners: Collection[str],
    seconds: float,
    whole: bool,
    environment: Mapping[str, str],
) -> list[str]:
    """Write all reports at once; returns lines that a person should read.

    `scanners` names all of the catalogue, `whole` says that none was left out by --only, --diff or a kind.
    Raises StepdownError when they cannot be written, with the old ones as they were.
    """
    result, verdict, accepted = done.result, done.verdict, done.applied.accepted
    repository = repository_name(request.source)
    texts = {
        PAGE: write_html.html(result, verdict, accepted, repository),
        DOCUMENT: write_json.json_of(result, verdict, accepted, repository),
    }
    texts[MERGED], cut = write_sarif.sarif(result, accepted)
    for one in result.scanners:
        if one.outcome != "skipped":
            texts[f"{one.name}.sarif"], _ = write_sarif.sarif(result, accepted, only=one.name)
    figures = metrics.Metrics()
    figures.take_over(metrics.earlier(output / FIGURES), scanners)
    judged = whole and verdict.exit_code != NOT_JUDGED
    figures.record(repository, None if request.base else result, seconds, judged=judged)
    texts[FIGURES] = metrics.text_of(figures)
    removed = write_files.write_reports(output, texts, [f"{name}.sarif" for name in scanners])
    lines = [f"{MERGED}: {line}" for line in cut]
    if removed:
        lines.append(f"removed what scanners that did not run now had left: {', '.join(removed)}")
    if environment.get(PUSHGATEWAY):
        lines += metrics.push(figures, environment[PUSHGATEWAY], repository)
    return lines


def repository_name(source: Path) -> str:
    """The name of the remote where there is one, else of the folder."""
    done = run(("git", "-C", str(source), "config", "--local", "--get", "remote.origin.url"), check=False)
    return metrics.repository_label(done.stdout.strip() or source.name)
