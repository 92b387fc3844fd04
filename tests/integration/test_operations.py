"""What goes wrong by hand and by accident: each ends in a clear error, and the next deploy puts the machine right."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepdown.errors import StepdownError
from stepdown.host import edge, gateway, release
from stepdown.host.home import Home
from stepdown.host.state import read_state
from stepdown.host.target import target
from tests.integration.clients import request, tools_list
from tests.stack import PATIENCE_SECONDS, ROOT, Stack, docker, free_port, until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]


def answers(stack: Stack, server: str = "zen") -> bool:
    """Whether a call through the gateway gets a result."""
    try:
        status, _, text = request(f"{stack.url}/mcp/{server}", stack.token, tools_list())
    except OSError:
        return False
    return status == 200 and "result" in json.loads(text)


class Caller:
    """Calls tools/list of both servers in a loop until stopped, and keeps every answer that was no result."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.calls, self.failures = stack, 0, list[str]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._loop, args=(name,)) for name in ("zen", "heimdall")]

    def __enter__(self) -> Caller:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _loop(self, server: str) -> None:
        while not self._stop.wait(0.02):
            try:
                status, _, text = request(f"{self.stack.url}/mcp/{server}", self.stack.token, tools_list())
                if status != 200 or "result" not in json.loads(text):
                    self.failures.append(f"{server}: {status} {text[:200]}")
            except OSError as error:
                self.failures.append(f"{server}: {error}")
            self.calls += 1


def new_release(stack: Stack, models: str) -> dict[str, str]:
    """Settings that make another release of the same images: another model list of zen."""
    return {"ZEN_MCP_ENDPOINT": "http://192.0.2.1/v1", "ZEN_MODELS": models}


@pytest.fixture
def other(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """A second instance that nothing was deployed to yet, beside the first."""
    name = f"{stack.name}-other"
    port = free_port()
    environment = {
        **stack.environment,
        "STEPDOWN_INSTANCE": name,
        "STEPDOWN_HOME": str(tmp_path / "home"),
        "STEPDOWN_PORT": str(port),
        "STEPDOWN_DIRECT_PORT": str(free_port()),
    }
    made = Stack(name, tmp_path / "home", port, environment)
    yield made
    if (made.home / "stepdown.pyz").exists():
        made.agent("down", "--purge")


def test_a_new_release_takes_over_without_losing_a_call(stack: Stack) -> None:
    """While another release starts beside the old and takes the traffic, every call gets its result."""
    before = stack.status()["release"]
    with Caller(stack) as caller:
        done = stack.run("deploy", **new_release(stack, "one"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert caller.calls > 20
    assert caller.failures == []
    assert stack.status()["release"] != before


def test_another_instance_that_goes_leaves_the_images_of_this_one(stack: Stack, other: Stack) -> None:
    """Those that no container needs now too: another plan may need them the next minute."""
    built = ("image", "ls", "--quiet", "--filter", "label=stepdown.image")
    images = set(docker(*built).split())
    done = other.run("deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    gone = other.agent("down", "--purge")
    assert gone.returncode == 0, gone.stderr
    assert images == set(docker(*built).split())


def test_an_unknown_plan_is_wrong_use(stack: Stack) -> None:
    """An unknown plan exits 2 and lists the known ones; nothing is touched."""
    before = stack.containers()
    done = stack.run("deploy", "--plan=E")
    assert (2, before) == (done.returncode, stack.containers())
    assert "known: A, B, C, D" in done.stderr


def test_a_taken_port_is_told_before_any_change(other: Stack) -> None:
    """With the gateway's port taken, deploy exits 1, names the port and the setting, and starts nothing."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", other.port))
        holder.listen()
        done = other.run("deploy", "--plan=C")
    assert (1, {}) == (done.returncode, other.containers())
    assert f"127.0.0.1:{other.port} cannot be had" in done.stderr
    assert "STEPDOWN_PORT" in done.stderr


def test_a_user_without_rights_is_told_how_to_get_them(stack: Stack) -> None:
    """Without rights on the engine's socket, the agent exits 1 and says how to get them; no second engine is tried."""
    argv = ["setpriv", "--reuid=65534", "--clear-groups", shutil.which("python3", path="/usr/bin") or "python3"]
    pyz = Path("/tmp") / f"{stack.name}.pyz"
    shutil.copy(stack.home / "stepdown.pyz", pyz)
    try:
        home = ["--home", "/nonexistent", "switch", "--to", "C"]
        done = subprocess.run([*argv, str(pyz), *home], cwd="/", capture_output=True, text=True, check=False)
    finally:
        pyz.unlink()
    assert done.returncode == 1
    assert "no rights on the engine's socket" in done.stderr
    assert "usermod -aG docker" in done.stderr


def test_a_broken_catalogue_names_file_and_key(stack: Stack, tmp_path: Path) -> None:
    """A typing error in the catalogue of a checkout stops deploy with exit 2 before anything happens."""
    checkout = tmp_path / "checkout"
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    servers = checkout / "catalog" / "servers.yml"
    servers.write_text(servers.read_text().replace("memory_mib: 768", "memory_mb: 768", 1))
    done = stack.run("deploy", "--plan=C", cwd=checkout)
    assert done.returncode == 2
    assert "catalog/servers.yml: servers/zen: unknown key 'memory_mb'" in done.stderr
    assert "Traceback" not in done.stderr


def test_of_two_deploys_at_once_one_is_told(stack: Stack) -> None:
    """The second of two deploys exits 1 and is told who is at work; the first ends well."""
    first = subprocess.Popen(
        ["./run", "deploy"],
        cwd=ROOT,
        env={**stack.environment, **new_release(stack, "two")},
        stdout=subprocess.PIPE,
        text=True,
    )
    lock = ROOT / ".stepdown" / "deploy.lock"
    until(lambda: lock.exists() and str(first.pid) in lock.read_text(), "the first deploy holds the lock")
    second = stack.run("deploy")
    first.communicate(timeout=PATIENCE_SECONDS)
    assert (0, 1) == (first.returncode, second.returncode)
    assert "is at work here" in second.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_switch_leaves_the_old_serving(stack: Stack, number: signal.Signals) -> None:
    """The agent interrupted or killed as new containers start: the old release serves on, the next deploy is right."""
    before = stack.status()
    old = _all_containers(stack)
    settings = new_release(stack, f"interrupted-{number.name}")
    process = subprocess.Popen(
        ["./run", "deploy"],
        cwd=ROOT,
        env={**stack.environment, **settings},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: len(_all_containers(stack)) > len(old), "a new container is there")
    agents = subprocess.run(["pgrep", "-f", f"stepdown.pyz --home {stack.home} switch"], capture_output=True, text=True)
    for pid in agents.stdout.split():
        os.kill(int(pid), number)
    assert process.wait(timeout=PATIENCE_SECONDS) != 0
    assert answers(stack)
    assert stack.status()["release"] == before["release"]
    last = json.loads(stack.agent("journal", "--json").stdout)["entries"][-1]
    assert last["event"] == ("intent" if number == signal.SIGKILL else "outcome")
    assert not last.get("ok")
    done = stack.run("deploy", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack.status()["release"] != before["release"]
    assert len(_all_containers(stack)) == len(old)


def _all_containers(stack: Stack) -> list[str]:
    return docker("ps", "--all", "--quiet", "--filter", f"label=stepdown.instance={stack.name}").split()


def test_converge_after_a_crash_says_which_plan_and_why(stack: Stack) -> None:
    """With every container of the plan killed, converge brings back the plan that the journal has."""
    killed = [identity for name, identity in stack.containers().items() if name != "gateway"]
    docker("rm", "--force", *killed)
    done = stack.agent("converge")
    assert done.returncode == 0, done.stderr
    assert "plan C: as the last switch left it" in done.stdout
    assert answers(stack)
    assert answers(stack, "heimdall")


def test_plan_c_runs_by_hand_and_the_agent_adopts_it(stack: Stack) -> None:
    """Two compose commands without Python bring plan C back; the next deploy finds it and restarts nothing."""
    killed = [identity for name, identity in stack.containers().items() if name != "gateway"]
    docker("rm", "--force", *killed)
    current = stack.home / "current"
    compose = stack.home / "docker" / "cli-plugins" / "docker-compose"
    argv = [str(compose)] if compose.exists() else ["docker", "compose"]
    for file in (current / "plan_c" / "compose.yml", stack.home / "edge" / "compose.yml"):
        files = ("--env-file", str(current / "compose.env"), "--file", str(file))
        subprocess.run([*argv, *files, "up", "-d"], check=True, capture_output=True, cwd="/")
    until(lambda: answers(stack) and answers(stack, "heimdall"), "both servers answer")
    by_hand = stack.containers()
    models = json.loads((current / "release.json").read_text())["environment"]
    done = stack.run("deploy", **models)
    assert done.returncode == 0, done.stdout + done.stderr
    assert by_hand == stack.containers()
    assert "changed=0" in done.stdout


def test_a_killed_container_comes_back_at_its_address(stack: Stack) -> None:
    """A server's process killed from the host: Docker restarts the container, and the gateway finds it again."""
    identity = stack.containers()["heimdall"]
    pid = int(docker("inspect", "--format", "{{.State.Pid}}", identity))
    os.kill(pid, signal.SIGKILL)
    until(lambda: docker("inspect", "--format", "{{.RestartCount}}", identity).strip() == "1", "Docker restarted it")
    until(lambda: answers(stack, "heimdall"), "heimdall answers again")


def test_a_refused_gateway_configuration_leaves_the_old_serving(stack: Stack) -> None:
    """Routes to a cluster that does not exist: Envoy refuses them, the agent says so, the old routes stay."""
    home = Home(stack.home)
    state = read_state(home)
    assert state is not None
    goal = target(home, release.load(home, state["release"]), state["plan"])
    good = goal.configuration()
    route = {"match": {"path": "/mcp/zen"}, "route": {"cluster": "no-such-cluster"}}
    hosts = [{**good.routes["virtual_hosts"][0], "routes": [route]}]
    bad = gateway.Configuration(good.clusters, good.endpoints, {**good.routes, "virtual_hosts": hosts})
    before = gateway.files(home)
    refused = pytest.raises(StepdownError, match="unknown cluster 'no-such-cluster'")
    with refused, edge.in_its_own_words(goal, "gateway"):
        gateway.add(home, bad, "bad/C")
        gateway.route(home, bad, "bad/C")
    gateway.put_back(home, before)
    assert answers(stack)
    until(lambda: gateway.routes_version(home) == goal.version, "Envoy has the old routes")


def test_the_gateway_restarts_into_its_plan(stack: Stack) -> None:
    """Restarting the gateway needs no agent: its files still hold the plan."""
    docker("restart", stack.containers()["gateway"])
    until(lambda: answers(stack), "zen answers")


def test_journal_tells_what_happened(stack: Stack) -> None:
    """Every switch has an intent and an outcome with who and why; `why` repeats the last reason."""
    entries = json.loads(stack.run("journal", "--last=200", "--json").stdout)["entries"]
    kinds = {entry["event"] for entry in entries}
    assert {"staged", "intent", "outcome"} <= kinds
    assert all(entry["by"] and entry["why"] for entry in entries if entry["event"] == "intent")
    assert stack.run("why").stdout.startswith("plan C since ")


def test_a_rebuild_with_nothing_changed_builds_nothing(stack: Stack) -> None:
    """Building again gives the same image ids and builds none."""
    first, second = stack.run("build"), stack.run("build")
    assert (0, 0) == (first.returncode, second.returncode)
    assert " built" not in second.stdout
    assert first.stdout == second.stdout


def test_down_removes_what_bears_the_instances_label(other: Stack) -> None:
    """After down --purge no container, network or file of the instance is left; the neighbour still serves."""
    assert other.run("deploy", "--plan=C").returncode == 0
    assert answers(other)
    done = other.agent("down", "--purge")
    assert done.returncode == 0, done.stderr
    assert _all_containers(other) == []
    assert docker("network", "ls", "--quiet", "--filter", f"label=stepdown.instance={other.name}") == ""
    assert not other.home.exists()


def test_check_says_what_would_change_and_changes_nothing(stack: Stack) -> None:
    """deploy --check of another release reports a change and leaves containers, releases and journal alone."""
    before = (stack.containers(), release.staged(Home(stack.home)), (stack.home / "journal.jsonl").read_bytes())
    done = stack.run("deploy", "--check", **new_release(stack, "checked"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=2" in done.stdout
    after = (stack.containers(), release.staged(Home(stack.home)), (stack.home / "journal.jsonl").read_bytes())
    assert before == after


def test_a_changed_port_that_is_taken_leaves_the_gateway_alone(stack: Stack) -> None:
    """Asked to move to a port that another program has, deploy exits 1; the gateway serves on at its old port."""
    before = stack.containers()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        done = stack.run("deploy", STEPDOWN_PORT=str(holder.getsockname()[1]))
    assert (1, before) == (done.returncode, stack.containers())
    assert "cannot be had" in done.stderr
    assert answers(stack)
    assert f":{stack.port}/" in stack.run("client.config").stdout


def test_a_container_that_hangs_is_made_anew(stack: Stack) -> None:
    """A server that runs and does not answer: the next deploy replaces its container and leaves the others."""
    assert stack.run("deploy").returncode == 0
    before = stack.containers()
    docker("pause", before["heimdall"])
    done = stack.run("deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    after = stack.containers()
    assert before["zen"] == after["zen"]
    assert before["heimdall"] != after["heimdall"]
    assert answers(stack, "heimdall")


def test_a_second_home_does_not_take_the_first_ones_containers_for_its_own(stack: Stack, tmp_path: Path) -> None:
    """One name on one engine belongs to one <home>; the other is told before anything changes."""
    before = stack.containers()
    done = stack.run("deploy", STEPDOWN_HOME=str(tmp_path / "home"))
    assert (1, True) == (done.returncode, f"'{stack.name}' is on this engine already" in done.stderr), done.stderr
    assert before == stack.containers()
    assert not (tmp_path / "home").exists()


def test_down_from_another_home_does_not_touch_what_runs(stack: Stack, tmp_path: Path) -> None:
    """A mistyped STEPDOWN_HOME, or a second checkout, is told whose the instance is."""
    before = stack.containers()
    done = stack.run("down", STEPDOWN_HOME=str(tmp_path / "home"))
    assert 0 != done.returncode
    assert f"instance '{stack.name}': runs from {stack.home}" in done.stdout
    assert before == stack.containers()
