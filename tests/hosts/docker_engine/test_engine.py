"""A host that the role docker_engine provisioned."""

from __future__ import annotations

from testinfra.host import Host

LIBRARIES = "lib lib64 usr/lib64 usr/lib/x86_64-linux-gnu/libc.so.6 usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"


def test_the_engine_runs_containers_with_limits(host: Host) -> None:
    """A container of an image made on the spot starts, bounded in memory and processes, and ends well."""
    host.check_output(f"tar -C / -c bin usr/bin/true {LIBRARIES} | docker import - scratch:test")
    bounds = "--memory=64m --pids-limit=16 --network=none"
    host.check_output(f"docker run --rm {bounds} scratch:test /usr/bin/true")
    host.check_output("docker image rm scratch:test")


def test_a_network_gets_its_rules(host: Host) -> None:
    """The engine's networks and rules work, not only its socket."""
    host.check_output("docker network create probe")
    rules = host.check_output("iptables-save -t filter")
    bridge = host.check_output("docker network inspect --format '{{slice .Id 0 12}}' probe")
    assert f"-o br-{bridge} -j DOCKER" in rules
    host.check_output("docker network rm probe")


def test_the_engine_comes_back_after_a_boot(host: Host) -> None:
    """systemd starts it."""
    assert host.service("docker").is_enabled
    assert host.service("docker").is_running
