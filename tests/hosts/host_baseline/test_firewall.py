"""The firewall of the role host_baseline, from beside the host and from behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host

from tests.hosts.host_baseline.conftest import Neighbour

UNLISTED = 9500
BEHIND = "10.99.7.2"

Make = Callable[..., Neighbour]


def first_port(variables: dict[str, Any], kind: str) -> int | None:
    """A port that is listed; none where the list is empty."""
    ports = variables[f"host_baseline_firewall_{kind}_ports"]
    return int(ports[0]) if ports else None


@pytest.fixture
def stranger(neighbour: Make) -> Neighbour:
    """A machine that nobody trusts, with both kinds of addresses."""
    return neighbour("outside0", "198.51.100.1/24", "198.51.100.2/24")


def test_strangers_see_ssh_and_what_is_listed(
    host: Host, variables: dict[str, Any], stranger: Neighbour, serve: Callable[[int], None]
) -> None:
    """Everything else is closed, though it answers on the host itself."""
    serve(UNLISTED)
    assert "open" == stranger.sees("198.51.100.1", 22)
    for kind in ("tcp", "udp"):
        assert "closed" == stranger.sees("198.51.100.1", UNLISTED, kind)
        listed = first_port(variables, kind)
        if listed:
            serve(listed)
            assert "open" == stranger.sees("198.51.100.1", listed, kind)
    assert host.run("timeout 2 bash -c '</dev/tcp/198.51.100.1/%s'", str(UNLISTED)).succeeded


def test_strangers_see_the_same_over_ipv6(
    host: Host, variables: dict[str, Any], neighbour: Make, serve: Callable[[int], None]
) -> None:
    """One table judges both."""
    if host.run("grep -q . /proc/net/if_inet6").failed:
        pytest.skip("this machine has no IPv6")
    listed = first_port(variables, "tcp")
    for port in filter(None, (UNLISTED, listed)):
        serve(port)
    stranger = neighbour("outside0", "fd77::1/64", "fd77::2/64")
    assert "closed" == stranger.sees("fd77::1", UNLISTED)
    assert "open" == stranger.sees("fd77::1", listed or 22)


def test_ranges_open_and_extra_rules_come_first(
    variables: dict[str, Any], stranger: Neighbour, serve: Callable[[int], None]
) -> None:
    """The last port of the range is dropped by a rule of its own."""
    ranges = [port for port in variables["host_baseline_firewall_tcp_ports"] if "-" in str(port)]
    if not ranges:
        pytest.skip("nothing set in this scenario")
    first, last = (int(number) for number in ranges[0].split("-"))
    assert [f"tcp dport {last} drop"] == variables["host_baseline_firewall_extra"]
    serve(first)
    serve(last)
    assert ("open", "closed") == (stranger.sees("198.51.100.1", first), stranger.sees("198.51.100.1", last))


def test_the_trusted_see_everything(variables: dict[str, Any], neighbour: Make, serve: Callable[[int], None]) -> None:
    """By their interface, by their address, and as Docker's own."""
    serve(UNLISTED)
    by_name = [*variables["host_baseline_firewall_trusted_interfaces"], *variables["host_baseline_firewall_bridges"]]
    for number, pattern in enumerate(by_name):
        name = pattern.replace("*", "probe")
        friend = neighbour(name, f"203.0.113.{4 * number + 1}/30", f"203.0.113.{4 * number + 2}/30")
        assert "open" == friend.sees(f"203.0.113.{4 * number + 1}", UNLISTED), name
    if "192.0.2.0/24" in variables["host_baseline_firewall_trusted_sources"]:
        friend = neighbour("outside1", "192.0.2.1/24", "192.0.2.2/24")
        assert "open" == friend.sees("192.0.2.1", UNLISTED)


@pytest.fixture
def published(host: Host, variables: dict[str, Any], neighbour: Make) -> Iterator[Neighbour]:
    """What Docker makes of `-p PORT:80`: a container behind docker0, and the translation before routing."""
    container = neighbour("docker0", "10.99.7.1/24", f"{BEHIND}/24")
    ports = [UNLISTED, *filter(None, [first_port(variables, "tcp")])]
    hook = "type nat hook prerouting priority dstnat;"
    rule = f"iifname outside0 tcp dport {{ {', '.join(map(str, ports))} }} dnat to {BEHIND}:80"
    host.check_output("nft %s", f"table ip probe {{ chain pre {{ {hook} {rule}; }}; }}")
    with container.serves(80):
        yield container
    host.check_output("nft delete table ip probe")


def test_published_ports_are_closed_unless_listed(
    variables: dict[str, Any], published: Neighbour, stranger: Neighbour
) -> None:
    """They do not pass the chain input; by the container's own address they are closed too."""
    listed = first_port(variables, "tcp")
    if listed:
        assert "open" == stranger.sees("198.51.100.1", listed)
    assert "closed" == stranger.sees("198.51.100.1", UNLISTED)
    assert "closed" == stranger.sees(BEHIND, 80)


def test_the_host_and_containers_keep_their_ways(host: Host, published: Neighbour, stranger: Neighbour) -> None:
    """The host reaches its containers, and containers get out."""
    assert host.run("timeout 2 bash -c '</dev/tcp/%s/80'", BEHIND).succeeded
    with stranger.serves(8000):
        assert "open" == published.sees("198.51.100.2", 8000)


def test_the_firewall_comes_back_after_a_boot_and_flushes_nobody(host: Host) -> None:
    """By its own unit; Debian's would flush Docker's rules."""
    assert (True, True) == (host.service("stepdown-firewall").is_enabled, host.service("stepdown-firewall").is_running)
    assert not host.service("nftables").is_enabled
    host.check_output("nft add table ip probe")
    host.check_output("systemctl restart stepdown-firewall && systemctl reload stepdown-firewall")
    tables = host.check_output("nft list tables").splitlines()
    host.check_output("nft delete table ip probe")
    assert {"table ip probe", "table inet stepdown"} <= set(tables)
