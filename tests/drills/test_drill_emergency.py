"""The last resort with all else gone: plan D on its own port, in seconds, and the way back up."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stepdown.catalog import Catalog
from tests.doubles.webhook import Webhook
from tests.drills.cable import cut
from tests.drills.drill import Drill
from tests.integration.clients import request, tools_list
from tests.stack import ROOT, bridge_address, docker, until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]

WITHIN_SECONDS = 10.0
KNOCK = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"


def answering(drill: Drill, servers: set[str]) -> set[str]:
    """Those of `servers` that give a result on the direct port, with the token that the gateway takes too."""
    found = set()
    for server in servers:
        url = f"http://127.0.0.1:{drill.stack.environment['STEPDOWN_DIRECT_PORT']}/mcp/{server}"
        try:
            status, _, text = request(url, drill.stack.token, tools_list())
        except OSError:
            continue
        if status == 200 and "result" in json.loads(text):
            found.add(server)
    return found


@pytest.fixture
def break_gateway(drill: Drill) -> Iterator[Callable[[str], None]]:
    """Leaves the gateway `dead`, as Docker leaves one that somebody killed, or `hung`; nothing is hung afterwards."""
    hung: list[str] = []

    def broken(how: str) -> None:
        container = drill.stack.containers()["gateway"]
        docker({"dead": "kill", "hung": "pause"}[how], container)
        hung.extend([container] if how == "hung" else [])

    yield broken
    for container in hung:  # not there any more where it was made anew
        subprocess.run(["docker", "unpause", container], capture_output=True, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can cut a cable")
@pytest.mark.parametrize("gateway", ["dead", "hung"])
def test_with_no_network_plan_d_answers_in_seconds(
    drill: Drill, catalog: Catalog, tmp_path: Path, break_gateway: Callable[[str], None], gateway: str
) -> None:
    """No names, no registry, no gateway: all six servers on the direct port, and status shows the break-glass."""
    release = drill.bring("C")
    break_gateway(gateway)
    everyone = set(catalog.servers)
    with cut(drill.stack, tmp_path) as without_network:
        knock = ("python3", "-c", KNOCK, bridge_address(), str(drill.models.port))
        assert 0 == subprocess.run(knock, check=False).returncode
        assert 0 != subprocess.run([*without_network, *knock], check=False, capture_output=True).returncode
        began = time.monotonic()
        process = subprocess.Popen(
            [*without_network, "./run", "emergency", "--why", "the cable is cut"],
            cwd=ROOT,
            env=drill.stack.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        until(lambda: answering(drill, everyone) == everyone or process.poll(), "all six answer, or it failed")
        seconds = time.monotonic() - began
        output, _ = process.communicate(timeout=120)
        ended = time.monotonic() - began
        assert 0 == process.returncode, output
    drill.figures.append(f"emergency, gateway {gateway}: answers on the direct port after {seconds:.1f} s")
    drill.figures.append(f"emergency, gateway {gateway}: the command ends after {ended:.1f} s")
    assert everyone == answering(drill, everyone)
    opened = drill.attempt("status").answer["break_glass"]
    assert "the cable is cut" == opened["why"]
    assert opened["until"] > opened["since"]
    assert "break-glass" in drill.stack.run("status").stdout
    back = drill.stack.run("recover")
    assert 0 == back.returncode, back.stdout + back.stderr
    drill.require_whole("C", release)
    assert drill.attempt("status").answer["break_glass"] is None
    assert seconds < WITHIN_SECONDS


@pytest.fixture
def webhook(drill: Drill) -> Iterator[Webhook]:
    """Where this instance, on plan C, sends its notices; it fails twice before it takes one."""
    drill.bring("C")
    hook = Webhook(failures=2)
    file = drill.home.secrets / "notify" / "slack_webhook"
    drill.home.make_directory(file.parent, 0o700)
    drill.home.write(file, hook.url, 0o400)
    yield hook
    file.unlink()
    hook.close()


def test_a_notice_is_sent_until_it_is_taken(drill: Drill, webhook: Webhook) -> None:
    """The emergency does not wait for it; who is told and how often it was tried is in the journal, its URL is not."""
    since = drill.mark()
    drill.agent("emergency", "--why", "a notice is due")
    sent = drill.wait_for("notified", since)
    assert (True, 3) == (sent["ok"], sent["tries"])
    assert ["a notice is due" in text for text in webhook.texts] == [True]
    assert webhook.path not in drill.home.journal.read_text()
    drill.agent("recover")


def test_nobody_waits_for_a_webhook_that_is_not_there(drill: Drill, webhook: Webhook) -> None:
    """One that answers nothing holds neither the emergency nor the way back up."""
    webhook.close()
    release = drill.state()["release"]
    since = drill.mark()
    began = time.monotonic()
    drill.agent("emergency")
    drill.agent("recover")
    drill.figures.append(f"emergency and back with a dead webhook: {time.monotonic() - began:.1f} s")
    drill.require_whole("C", release)
    assert [] == drill.entries("notified", since=since)
