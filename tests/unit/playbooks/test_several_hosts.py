"""Several hosts: one after the other, a stop at the first that fails, and a table that says where each of them is."""

from __future__ import annotations

import os
import re

import pytest

from tests.unit.playbooks.conftest import Hosts

TAKEN = "plan D: 127.0.0.1:7860 cannot be had. Run: ss -ltnp"


def table(output: str) -> list[str]:
    """The rows of the last table in it, without its head and without what JSON puts around them."""
    lines = [line.strip().rstrip(",").strip('"').replace('\\"', '"') for line in output.splitlines()]
    head = max(number for number, line in enumerate(lines) if line.split()[:3] == ["host", "plan", "release"])
    rows = []
    for line in lines[head + 1 :]:
        if line.split()[:1] not in (["one"], ["two"], ["three"]):
            break
        rows.append(line)
    return rows


def test_hosts_are_moved_one_after_the_other(hosts: Hosts) -> None:
    """After every one of them was asked, and with a table at the end."""
    done = hosts.play("switch", mcp_stack_to="D")
    assert 0 == done.returncode, done.stdout + done.stderr
    assert {"one", "two", "three"} == {host for host, _ in hosts.calls("switch --check")}
    expected = [(host, event) for host in ("one", "two", "three") for event in ("begins", "ends")]
    assert expected == hosts.calls("switch")
    assert [f"{host:<5}  D     r1       proved  ready    done in 1.5 s" for host in ("one", "two", "three")] == table(
        done.stdout
    )


def test_the_inventory_says_how_many_at_once(hosts: Hosts) -> None:
    """mcp_stack_serial, as Ansible's serial has it, though plays know no variables of groups."""
    hosts.give(mcp_stack_serial=2)
    for name in ("one", "two", "three"):
        hosts.become(name, seconds=1.0)
    assert 0 == hosts.play("switch", mcp_stack_to="D").returncode
    events = [event for _, event in hosts.calls("switch")]
    assert ["begins", "begins", "ends", "ends", "begins", "ends"] == events


def test_a_host_that_fails_stops_those_after_it(hosts: Hosts) -> None:
    """Its words come with where every host is at their end; it is the one that Ansible counts as failed."""
    hosts.become("two", says={"switch": [1, TAKEN]})
    done = hosts.play("switch", mcp_stack_to="D")
    said = done.stdout + done.stderr
    assert 2 == done.returncode
    assert ["D", "C", "C"] == hosts.plans()
    assert f"two: {TAKEN}" in said
    expected = [
        "one    D     r1       proved  ready    done in 1.5 s",
        "two    C     r1       proved  ready    failed",
        "three  C     r1       proved  ready    not tried",
    ]
    assert expected == table(said)
    failed = dict(re.findall(r"^(\w+) .*failed=(\d)", done.stdout, re.MULTILINE))
    assert {"localhost": "0", "one": "0", "two": "1", "three": "0"} == failed


def test_one_refusal_before_and_no_host_is_changed(hosts: Hosts) -> None:
    """Every refusal is told, by the playbook and by the command line."""
    for name in ("one", "three"):
        hosts.become(name, says={"switch --check": [1, TAKEN]})
    done = hosts.play("switch", mcp_stack_to="D")
    assert 2 == done.returncode
    assert [True, False, True] == [f"{host}: {TAKEN}" in done.stdout + done.stderr for host in ("one", "two", "three")]
    called = hosts.run("switch", "--to=D", "--yes")
    expected = ["switch: nothing was changed, since not all is ready:", f"one: {TAKEN}", f"three: {TAKEN}"]
    assert (1, expected) == (called.returncode, called.stderr.splitlines()[-3:])
    assert [] == hosts.calls("switch")


def test_limit_leaves_the_others_alone(hosts: Hosts) -> None:
    """They are neither asked nor told of."""
    hosts.become("two", says={"switch --check": [1, TAKEN]})
    done = hosts.play("switch", "--limit=one,three", mcp_stack_to="D")
    assert 0 == done.returncode, done.stdout + done.stderr
    assert ["D", "C", "D"] == hosts.plans()
    assert ["one", "three"] == [row.split()[0] for row in table(done.stdout)]
    assert [] == [host for host, _ in hosts.calls("switch --check", "status") if host == "two"]


def test_a_limit_without_a_host_of_the_stack_is_no_success(hosts: Hosts) -> None:
    """Ansible would do nothing and exit 0."""
    for done in (
        hosts.play("switch", "--limit=ci", mcp_stack_to="D"),
        hosts.run("switch", "--to=D", "--limit=ci", "--yes"),
    ):
        assert 0 != done.returncode
        assert "--limit leaves no host of group 'stack' (known: one, two, three)" in done.stdout + done.stderr


def test_check_mode_says_what_would_change(hosts: Hosts) -> None:
    """And asks only."""
    hosts.become("two", plan="D")
    done = hosts.play("switch", "--check", mcp_stack_to="D")
    assert 0 == done.returncode
    assert ["would change", "would stay as it is", "would change"] == [
        row.split("  ")[-1] for row in table(done.stdout)
    ]
    assert (["C", "D", "C"], []) == (hosts.plans(), hosts.calls("switch"))


def test_a_host_out_of_reach_is_in_the_table_with_the_reason(hosts: Hosts) -> None:
    """As is one where nothing is deployed, and one whose servers are not all ready."""
    hosts.give("one", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    (hosts.folder / "two" / "stepdown.pyz").unlink()
    hosts.become("three", zen="starting", break_glass={"until": "2026-11-25T18:00:00Z"})
    done = hosts.run("status")
    assert 1 == done.returncode
    one, two, three = table(done.stdout)
    assert re.match(r"one +\? +\? +\? +\? +not known: cannot be reached: ssh: connect to host 127.0.0.1 port 1", one)
    assert re.match(rf"two +.* not known: nothing is deployed below {hosts.folder}/two$", two)
    assert re.match(r"three +C +r1 +proved +zen starting +emergency until 2026-11-25T18:00:00Z", three)


def test_the_exit_code_says_whether_something_changed(hosts: Hosts) -> None:
    """3 where a host was moved before one failed, 1 where none was; the table and what to type are in the message."""
    hosts.become("two", says={"fallback": [1, TAKEN]})
    failed = hosts.run("fallback", "--yes")
    assert (3, 3) == (failed.returncode, len(table(failed.stderr)))
    assert f"Run: ./run fallback --inventory={hosts.inventory}, when" in failed.stderr
    assert 1 == hosts.run("fallback", "--limit=two", "--yes").returncode
    assert 0 == hosts.run("fallback", "--limit=three", "--yes").returncode
    assert ["D", "C", "D"] == hosts.plans()


@pytest.mark.parametrize("verb", ["switch", "fallback", "recover", "rollback", "emergency"])
def test_other_machines_are_not_moved_unasked(hosts: Hosts, verb: str) -> None:
    """Without --yes and without a terminal to ask on."""
    done = hosts.run(verb, *(["--to=D"] if verb == "switch" else []))
    assert (2, True) == (done.returncode, "say so with --yes" in done.stderr), done.stdout + done.stderr
    assert [] == hosts.calls(verb, f"{verb} --check")


def test_an_emergency_goes_to_all_hosts_at_once(hosts: Hosts) -> None:
    """Without a playbook; a host that fails holds up nobody, and makes the exit code 3, since others changed."""
    for name in ("one", "three"):
        hosts.become(name, seconds=1.0, gateway="Envoy does not answer" if name == "three" else "")
    hosts.become("two", seconds=1.0, says={"emergency": [1, "plan D: no image. Run: ./run deploy"]})
    done = hosts.run("emergency", "--why=a drill", "--yes")
    assert (3, ["D", "C", "D"]) == (done.returncode, hosts.plans()), done.stderr
    assert ["begins"] * 3 + ["ends"] * 3 == [event for _, event in hosts.calls("emergency")]
    one, three, two = table(done.stdout)  # by name
    assert re.match(r"one +D +r1 +- +ready +done in 2.5 s; emergency until 2026-11-25T18:00:00Z$", one)
    assert re.match(r"two +C +r1 +proved +ready +failed$", two)
    assert re.match(r"three +D +r1 +- +gateway: Envoy does not answer +done in 2.5 s;", three)
    assert "two: plan D: no image. Run: ./run deploy" == done.stderr.splitlines()[-1]


def test_an_emergency_on_no_host_changed_nothing(hosts: Hosts) -> None:
    """Exit 1; and where all went to plan D, 0."""
    hosts.become("two", says={"emergency": [1, "plan D: no image"]})
    assert 1 == hosts.run("emergency", "--limit=two", "--yes").returncode
    assert 0 == hosts.run("emergency", "--limit=one,three", "--yes").returncode
    assert ["D", "C", "D"] == hosts.plans()


@pytest.mark.skipif(os.access("/run/systemd/system", os.W_OK), reason="it would install a unit on this machine")
def test_a_deploy_stops_at_the_first_host_that_fails(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails on it; the hosts after it are not tried, and the table ends the failure."""
    engine = hosts.folder / "bin" / "docker"  # so that none is installed here
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\necho 20.10\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}{os.pathsep}{os.environ['PATH']}")
    dist = hosts.folder / "dist"
    dist.mkdir()
    for name in ("release.tar", "docker-compose"):
        (dist / name).touch()
    (dist / "preflight.json").write_text("{}")
    (dist / "stepdown.pyz").write_text((hosts.folder / "one" / "stepdown.pyz").read_text())
    hosts.give(mcp_stack_dist=str(dist), docker_engine_state="present")
    hosts.become("two", says={"switch": [1, TAKEN]})
    done = hosts.play("deploy", mcp_stack_plan="D")
    said = done.stdout + done.stderr
    assert 2 == done.returncode, said
    assert f"two: {TAKEN}" in said
    assert ["done in 1.5 s", "failed", "not tried"] == [row.split("  ")[-1].strip() for row in table(said)]
    assert ["D", "C", "C"] == hosts.plans()
