"""One verdict over a scan. Pure. Fails closed: what could not be judged is worse than what was found.

Exit codes: 0 clean, 1 findings at or above the gate (or a baseline that does not hold), 3 could not judge. Both reasons
are always shown; 3 wins. (2 is wrong use, which ends before there is a verdict.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepdown.scan.baseline import Applied
from stepdown.scan.findings import SEVERITIES, Finding, ScanResult, Severity
from stepdown.scan.snapshot import REPOSITORY

CLEAN, FOUND, NOT_JUDGED = 0, 1, 3
WORDS = {CLEAN: "clean", FOUND: "findings", NOT_JUDGED: "could not judge"}
LEAST_COVERAGE = 0.95
NO_FILE = "there is no file of its kind"  # as stepdown.scan.judge says it


@dataclass(frozen=True)
class Verdict:
    """How a scan is judged. `bad` and `not_judged` are reasons in words, `aloud` what a reader must know besides."""

    exit_code: int
    gate: Severity
    above: tuple[Finding, ...]  # at or above the gate and not accepted, worst first
    below: int
    accepted: int
    bad: tuple[str, ...]
    not_judged: tuple[str, ...]
    aloud: tuple[str, ...]

    @property
    def word(self) -> str:
        """clean, findings or could not judge."""
        return WORDS[self.exit_code]

    def document(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "verdict": self.word,
            "exit_code": self.exit_code,
            "fail_on": self.gate,
            "findings_at_or_above": len(self.above),
            "findings_below": self.below,
            "findings_accepted": self.accepted,
            "bad": list(self.bad),
            "could_not_judge": list(self.not_judged),
            "aloud": list(self.aloud),
        }


def judge(
    result: ScanResult, applied: Applied, gate: Severity, *, whole_history: bool = True, more: Sequence[str] = ()
) -> Verdict:
    """The verdict. `whole_history`: all commits were to be judged; `more`: further reasons why something was not."""
    reasons = (*more, *unjudged(result, whole_history))
    count = SEVERITIES.index(gate)
    left = [finding for finding in result.findings if finding.fingerprint not in applied.accepted]
    above = tuple(finding for finding in left if SEVERITIES.index(finding.severity) <= count)
    found = (f"{len(above)} at or above {gate}",) if above else ()
    bad = (*found, *applied.problems)
    return Verdict(
        exit_code=NOT_JUDGED if reasons else FOUND if bad else CLEAN,
        gate=gate,
        above=above,
        below=len(left) - len(above),
        accepted=len(result.findings) - len(left),
        bad=bad,
        not_judged=reasons,
        aloud=(*_left_out(result), *applied.stale),
    )


def last_line(verdict: Verdict, remedies: Sequence[str]) -> str:
    """`verdict: …` and how to go on."""
    return f"verdict: {summary(verdict)}" + (f". {' '.join(remedies)}" if remedies else "")


def summary(verdict: Verdict) -> str:
    """The word, the reasons and the numbers."""
    more = f"{verdict.below} below {verdict.gate}, {verdict.accepted} accepted"
    if verdict.exit_code == CLEAN:
        said = f"no finding at or above {verdict.gate} ({more})"
    else:
        said = "; ".join((*(_short(reason) for reason in verdict.not_judged), *(_short(bad) for bad in verdict.bad)))
        said += f" ({more})"
    return f"{verdict.word}: {said}"


def unjudged(result: ScanResult, whole_history: bool) -> list[str]:
    """Reasons why this result is no judgement; none when everything was judged."""
    reasons = [f"{one.name}: {one.reason}" for one in result.scanners if one.outcome == "failed"]
    coverage = result.coverage
    if coverage.files == 0 and not any(one.outcome == "ok" for one in result.scanners):
        reasons.append("there is no file to judge")
    elif coverage.share is not None and coverage.share < LEAST_COVERAGE:
        reasons.append(f"coverage is {percent(coverage.share)}, below {percent(LEAST_COVERAGE)}")
    if all(one.outcome == "skipped" for one in result.scanners) and not _is_without_its_kind(result):
        reasons.append("no scanner ran")
    shallow = [place for place in result.not_judged if place.path == REPOSITORY]
    return reasons + [f"history {place.reason}" for place in shallow if whole_history or "shallow" not in place.reason]


def _is_without_its_kind(result: ScanResult) -> bool:
    """Each scanner says that nothing here is for it: `scan.workflows` of a tree without any. No other reason counts."""
    return bool(result.scanners) and all(one.reason == NO_FILE for one in result.scanners)


def percent(share: float) -> str:
    """One decimal, rounded down: 94.96 % must not read as 95."""
    return f"{int(share * 1000) / 10:g} %"


def _left_out(result: ScanResult) -> list[str]:
    return [f"{one.name}: {one.reason}" for one in result.scanners if one.outcome == "skipped"]


def _short(reason: str, characters: int = 90) -> str:
    return reason if len(reason) <= characters else f"{reason[: characters - 1]}…"
