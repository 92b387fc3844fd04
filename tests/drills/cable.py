"""A cut cable for one process and all that it starts: its packets leave no further than this machine's containers.

It keeps the root user, loopback, the Docker socket and the instance's own networks, as a host with a dead uplink does.
Names cannot be looked up: the resolver is one that nobody has. Needs root, iptables and util-linux.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.stack import Stack, docker

NOBODYS_RESOLVER = "nameserver 192.0.2.1\noptions timeout:30 attempts:3\n"  # of a network that is never routed


@contextmanager
def cut(stack: Stack, folder: Path) -> Iterator[Sequence[str]]:
    """The words to put before a command that is to run without a network."""
    group = str(random.randrange(200_000, 900_000))  # no other process has it, and so the rules touch no other
    mine = ("-m", "owner", "--gid-owner", group)
    near = ["127.0.0.0/8", *_subnets(stack)]
    rules = [("OUTPUT", *mine, "-d", subnet, "-j", "ACCEPT") for subnet in near]
    rules.append(("OUTPUT", *mine, "-j", "DROP"))
    resolver = folder / "resolv.conf"
    resolver.write_text(NOBODYS_RESOLVER)
    mounted = f'mount --bind {resolver} /etc/resolv.conf && exec setpriv --regid={group} --clear-groups "$@"'
    try:
        for rule in reversed(rules):
            _iptables("-I", *rule)
        yield ("unshare", "--mount", "sh", "-c", mounted, "sh")
    finally:
        for rule in rules:
            _iptables("-D", *rule)


def _subnets(stack: Stack) -> list[str]:
    names = docker("network", "ls", "--quiet", "--filter", f"label=stepdown.instance={stack.name}").split()
    networks = json.loads(docker("network", "inspect", *names))
    inner = [network for network in networks if not network["Name"].endswith("_egress")]
    return [pool["Subnet"] for network in inner for pool in network["IPAM"]["Config"]]


def _iptables(*words: str) -> None:
    subprocess.run(["iptables", "--wait", *words], check=True, capture_output=True)
