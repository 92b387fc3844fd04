"""`./run bench` beside a deployed instance: every contender runs, the report is written, nothing is left behind."""

from __future__ import annotations

import json

import pytest

from stepdown.catalog import Catalog
from tests.stack import ROOT, Stack, docker

pytestmark = pytest.mark.engine


def test_deploy_is_measured_beside_its_contenders(stack: Stack) -> None:
    """One round, whose figures are not judged here: on a busy machine a limit may be missed."""
    settled = stack.run("deploy")
    assert settled.returncode == 0, settled.stdout + settled.stderr
    before = stack.containers()
    done = stack.run("bench", "--only=deploy", "--rounds=1")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads((ROOT / "reports" / "bench.json").read_text(encoding="utf-8"))["benchmarks"]["deploy"]
    assert ["playbook", "deploy", "plain", "compose"] == list(report["contenders"])
    assert all(len(contender["seconds"]) == 1 for contender in report["contenders"].values())
    assert [("deploy_unchanged_local", done.returncode == 0)] == [(r["objective"], r["good"]) for r in report["limits"]]
    assert before == stack.containers()
    assert "" == docker("ps", "--all", "--quiet", "--filter", f"label=stepdown.instance={stack.name}-bench-plain")
    assert "" == docker("network", "ls", "--quiet", "--filter", f"label=stepdown.instance={stack.name}-bench-plain")
    assert not stack.home.with_name(f"{stack.home.name}-bench-plain").exists()


def test_container_starts_are_measured_on_an_instance_of_their_own(stack: Stack, catalog: Catalog) -> None:
    """One round, not judged here; what is deployed is not touched, and what was made for it is gone."""
    before = stack.containers()
    done = stack.run("bench", "--only=start", "--rounds=1")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads((ROOT / "reports" / "bench.json").read_text(encoding="utf-8"))["benchmarks"]["start"]
    assert ["compose", *catalog.servers, "monolith"] == list(report["contenders"])
    assert all(len(contender["seconds"]) == 1 for contender in report["contenders"].values())
    assert all(row["good"] for row in report["limits"]) is (done.returncode == 0)
    assert before == stack.containers()
    assert "" == docker("ps", "--all", "--quiet", "--filter", "name=scratch-")
    assert "" == docker("network", "ls", "--quiet", "--filter", "name=scratch-")
