"""What hosts answered, as the last lines of a deploy: which host, what is wrong, what to type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepdown import hosts

REACH = {"host": "192.0.2.7", "port": "2222", "user": "op"}
SSH = "Task failed: Failed to connect to the host via ssh: "
ASK = "ANSIBLE_BECOME_ASK_PASS=true ./run deploy …, or set ansible_become_password from a vault"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            {"rc": 1, "stdout": "2 problems before any change:\r\n  - one\r\n  - two\r\n",
             "stderr": "Shared connection to 192.0.2.7 closed.\r\n"},
            "far: 2 problems before any change:\n  - one\n  - two",
        ),
        (
            {"unreachable": True, "msg": f"{SSH}ssh: connect to host 192.0.2.7 port 2222: Connection refused"},
            "far: cannot be reached: ssh: connect to host 192.0.2.7 port 2222: Connection refused. "
            "Run: ssh -p 2222 op@192.0.2.7 true, with the inventory's key",
        ),
        (
            {"unreachable": True, "msg": f"{SSH}Warning: Permanently added '[192.0.2.7]:2222' (ED25519) to the list of "
             "known hosts.\r\nop@192.0.2.7: Permission denied (publickey)."},
            "far: cannot be reached: op@192.0.2.7: Permission denied (publickey). "
            "Run: ssh -p 2222 op@192.0.2.7 true, with the inventory's key",
        ),
        ({"msg": "Task failed: Missing sudo password"}, f"far: sudo: Missing sudo password. Run: {ASK}"),
        ({"msg": "Incorrect sudo password"}, f"far: sudo: Incorrect sudo password. Run: {ASK}"),
        (
            {"rc": 127, "stdout": "/bin/sh: 1: python3: not found\r\n", "msg": "non-zero return code"},
            "far: no Python to run there, 3.11 or newer is needed (/bin/sh: 1: python3: not found). "
            "Run: apt-get install python3, there; or set ansible_python_interpreter",
        ),
        (
            {"rc": 1, "stderr": "stepdown.pyz: Python 3.9 is too old, 3.11 or newer is needed on this host\n"},
            "far: stepdown.pyz: Python 3.9 is too old, 3.11 or newer is needed on this host",
        ),
        ({"msg": "An unhandled exception: no space left"}, "far: An unhandled exception: no space left"),
        ({"rc": 0, "settings": "mcp_stack: mcp_stack_prot is not a variable of the role"},
         "far: mcp_stack: mcp_stack_prot is not a variable of the role"),
        ({"rc": 1, "stdout": "1 problem", "settings": "mcp_stack: what"}, "far: mcp_stack: what\nfar: 1 problem"),
        ({"rc": 137}, "far: the preflight ended with 137 and said nothing"),
    ],
)  # fmt: skip
def test_an_answer_is_told_with_its_host(answer: dict[str, Any], expected: str) -> None:
    """Ansible's results as they come over SSH."""
    assert expected == hosts.refusal("far", {**answer, "reach": REACH})


def test_where_ssh_needs_no_more_than_a_name_no_more_is_typed() -> None:
    """The inventory leaves user and port to the configuration of SSH."""
    answer = {"unreachable": True, "msg": f"{SSH}no route", "reach": {"host": "far", "port": "", "user": ""}}
    assert hosts.refusal("far", answer).endswith("Run: ssh far true, with the inventory's key")


def test_all_hosts_are_told_in_one_message(tmp_path: Path) -> None:
    """In the order of their names, after this machine's own problems; no file is no refusal."""
    assert {} == hosts.refusals(tmp_path)
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"rc": 1, "stdout": f"problem of {name}", "reach": REACH}))
    found = hosts.refusals(tmp_path)
    assert {"a": "a: problem of a", "b": "b: problem of b"} == found
    expected = [
        "nothing was changed, since not all is ready:",
        "this machine: 1 problem before any change:",
        "  - git is not on PATH",
        "a: problem of a",
        "b: problem of b",
    ]
    assert expected == hosts.told(found, ["git is not on PATH"]).splitlines()
