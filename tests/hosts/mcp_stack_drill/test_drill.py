"""Moves by playbook and by SSH, then disasters, on one host: where it is after each, by its own word and its servers'.

The tests go on from each other, in the order in which they stand. A power cut here is the KILL of every process of the
machine at once: what was written is there afterwards, so it says nothing about what a disk's cache would lose.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testinfra.host import Host

from stepdown.catalog import PLAN_NAMES, load_catalog
from stepdown.resolve import resolve
from stepdown.shared import FIRST_PLAN
from tests.hosts import machine

ROOT = Path(__file__).resolve().parents[3]
CATALOG = load_catalog(ROOT)
FULL, LAST = PLAN_NAMES[0], PLAN_NAMES[-1]
INVENTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "inventory")
HOME, GATEWAY, DIRECT, UNIT = "/opt/stepdown", 8080, 7860, "stepdown-stepdown.service"
PATIENCE_SECONDS = 180
EMERGENCY_SECONDS = 10.0  # of the design: plan D answers without a network
ASK = """
import json, sys, urllib.request
port, *servers = sys.argv[1:]
token = open("/opt/stepdown/secrets/client_token").read().strip()
head = {"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": "application/json"}
body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
for server in servers:
    call = urllib.request.Request("http://127.0.0.1:%s/mcp/%s" % (port, server), data=body, headers=head)
    assert json.load(urllib.request.urlopen(call, timeout=20))["result"]["tools"], server
"""


def _agent(host: Host, *words: str) -> Any:
    """What the agent on the host prints, whatever its exit code; None where it prints nothing."""
    said = host.run(f"python3 {HOME}/stepdown.pyz {' '.join(words)} --json").stdout
    return json.loads(said) if said else None


def _on(host: Host) -> tuple[str, str]:
    """Plan and release by the agent's word."""
    status = _agent(host, "status")
    return status["plan"], status["release"]


def _answers(host: Host, plan: str, port: int = GATEWAY) -> bool:
    """Whether every server of the plan lists its tools there."""
    servers = [server.name for container in resolve(CATALOG, plan).containers for server in container.servers]
    return host.run("python3 -c %s %s " + " ".join(servers), ASK, str(port)).rc == 0


def _running(host: Host) -> set[str]:
    """Names of the containers of releases that run."""
    shown = host.check_output("docker ps --filter label=stepdown.release --format '{{.Label \"stepdown.container\"}}'")
    return set(shown.split())


def _whole(host: Host, plan: str) -> None:
    """One whole plan: by the agent's word, by its servers' answers, and not a container more."""
    assert plan == _on(host)[0]
    assert {container.name for container in resolve(CATALOG, plan).containers} == _running(host)
    assert _answers(host, plan)


def _until(happened: Callable[[], bool], what: str) -> float:
    """Wait for it; the seconds that it took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < PATIENCE_SECONDS, f"not after {PATIENCE_SECONDS} s: {what}"
        time.sleep(0.2)
    return time.monotonic() - began


def _play(playbook: str, **variables: Any) -> str:
    """The output of one of this repository's playbooks on the scenario's inventory."""
    argv = ["ansible-playbook", f"playbooks/{playbook}.yml", f"--inventory={INVENTORY}"]
    done = subprocess.run(
        [*argv, "--extra-vars", json.dumps(variables)],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    """This process's, without what molecule tells its own runs of Ansible."""
    mine = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    return {**mine, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}


def _row(output: str) -> list[str]:
    """Plan, release and what the run did, of the one row of the table of hosts."""
    cells = re.findall(rf'"{re.escape(_machine())} +(\S+) +(\S+) +\S+ +\S+ +(.*?)"', output)
    return list(cells[-1])


def _machine() -> str:
    return f"{os.environ['STEPDOWN_MOLECULE_PREFIX']}-{os.environ['MOLECULE_SCENARIO_NAME']}"


def _converged_after(host: Host, began: float) -> bool:
    """Whether the unit has run, and ended well, since `began`, a time of the host's monotonic clock in seconds."""
    shown = host.check_output(f"systemctl show -p ExecMainStartTimestampMonotonic -p Result -p ActiveState {UNIT}")
    told = dict(line.split("=", 1) for line in shown.splitlines())
    started = int(told["ExecMainStartTimestampMonotonic"]) / 1e6
    return (started > began, told["Result"], told["ActiveState"]) == (True, "success", "inactive")


def _last_move(host: Host) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last intent of the journal and the last outcome."""
    entries = _agent(host, "journal")["entries"]
    intents, outcomes = ([entry for entry in entries if entry["event"] == event] for event in ("intent", "outcome"))
    return intents[-1], outcomes[-1]


def test_playbooks_step_down_and_back_up(host: Host) -> None:
    """fallback, recover and switch; a second time there is nothing to change."""
    release = _on(host)[1]
    for playbook, to, plan in (("fallback", "", LAST), ("recover", "", FIRST_PLAN)):
        told = _row(_play(playbook, mcp_stack_to=to))
        assert [plan, release] == told[:2]
        assert told[2].startswith("done in "), told
        _whole(host, plan)
    assert "nothing to change" == _row(_play("switch", mcp_stack_to=FIRST_PLAN))[2]


def test_a_deploy_in_an_emergency_ships_the_release_and_keeps_the_plan(host: Host) -> None:
    """Called over SSH without a playbook; only recover ends it, and rollback leads back to the first release."""
    before = _on(host)
    argv = [str(ROOT / "run"), "emergency", f"--inventory={INVENTORY}", "--why=a drill", "--yes", "--json"]
    called = subprocess.run(argv, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=True, timeout=120)
    rows = json.loads(called.stdout)
    assert [(_machine(), LAST, 0)] == [(row["host"], row["plan"], row["code"]) for row in rows]
    said = _play("stack", mcp_stack_plan=FIRST_PLAN, mcp_stack_github_read_only=False)
    assert f"plan {LAST} is kept (since " in said
    shipped = _on(host)
    assert LAST == shipped[0]
    assert before[1] != shipped[1]
    assert "a drill" == _agent(host, "status")["break_glass"]["why"]
    assert [LAST, before[1]] == _row(_play("rollback", mcp_stack_to=before[1]))[:2]
    assert before == tuple(_row(_play("recover"))[:2])
    assert _agent(host, "status")["break_glass"] is None
    _whole(host, before[0])


def test_after_a_power_cut_in_a_switch_a_boot_ends_in_one_whole_plan(host: Host) -> None:
    """Cut when containers of the other plan run already; the unit converges, and the journal says which and why."""
    before = _on(host)
    host.check_output(f"nohup python3 {HOME}/stepdown.pyz switch --to={FULL} >/dev/null 2>&1 &")
    _until(lambda: bool(_running(host) - {c.name for c in resolve(CATALOG, before[0]).containers}), "it starts")
    machine.cut_power(_machine())
    machine.boot(_machine())
    seconds = _until(lambda: _converged_after(host, 0.0), "the unit converges after the boot")
    print(f"whole again {seconds:.1f} s after the boot")
    plan = _on(host)[0]
    assert plan in (before[0], FULL)
    _whole(host, plan)
    intent, outcome = _last_move(host)
    assert (plan, True, plan) == (intent["to"], outcome["ok"], outcome["to"])
    assert "an unfinished switch" in intent["why"]
    if plan != before[0]:
        _agent(host, "switch", f"--to={before[0]}")


def test_a_killed_engine_comes_back_on_its_plan(host: Host) -> None:
    """Its daemon, containerd and every shim at once, without a word; systemd starts the engine, it the unit."""
    before = _on(host)
    killed = float(host.file("/proc/uptime").content_string.split()[0])
    host.check_output("systemctl kill --signal=KILL --kill-who=all docker.service containerd.service")
    seconds = _until(lambda: _converged_after(host, killed), "the unit converges after the engine's death")
    print(f"whole again {seconds:.1f} s after the engine's death")
    assert before == _on(host)
    _whole(host, before[0])


def test_with_the_cable_cut_an_emergency_answers_in_time(host: Host) -> None:
    """No route and no name server: plan D on its own port, by the host alone; recover goes back without them too."""
    before = _on(host)
    route = host.check_output("ip route show default")
    names = host.file("/etc/resolv.conf").content_string
    host.check_output("ip route del default && echo nameserver 192.0.2.1 >/etc/resolv.conf")
    try:
        answer = _agent(host, "emergency", "--why=drill")
        assert LAST == answer["plan"]
        assert _answers(host, LAST, DIRECT)
        assert answer["seconds"] < EMERGENCY_SECONDS  # until every server answered there; the rest is tidying up
        assert before[0] == _agent(host, "recover")["plan"]
        _whole(host, before[0])
    finally:
        host.check_output("printf %s >/etc/resolv.conf", names)
        host.check_output(f"ip route add {route}")
