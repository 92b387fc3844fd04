"""URLs of an environment as places that can be reached, or refused by the name of their setting."""

from __future__ import annotations

import pytest

from stepdown.errors import UsageError
from stepdown.host.endpoint import Endpoint, endpoint, endpoints, refusals


@pytest.mark.parametrize(
    ("url", "authority", "plain"),
    [
        ("http://models.example/v1", "models.example:80", True),
        ("https://models.example/v1", "models.example:443", False),
        ("HTTPS://Models.Example:8443", "models.example:8443", False),
        ("https://user:password@models.example/v1?key=secret#part", "models.example:443", False),
        (" http://host.docker.internal:11434/v1 ", "host.docker.internal:11434", True),
        ("http://192.0.2.1:8000/v1", "192.0.2.1:8000", True),
        ("https://[2001:db8::1]/v1", "[2001:db8::1]:443", False),
        ("http://ollama", "ollama:80", True),
    ],
)
def test_a_url_leads_to_a_host_and_a_port(url: str, authority: str, plain: bool) -> None:
    """Ports as the scheme has them; nothing else of the URL counts."""
    found = endpoint("ZEN_MCP_ENDPOINT", url)
    assert (authority, plain) == (found.authority, found.plain)


@pytest.mark.parametrize(
    "url",
    [
        "models.example",
        "models.example:8000/v1",
        "ftp://models.example",
        "http://",
        "https:///v1",
        "http://:8080/",
        "http://models.example:0/",
        "http://models.example:65536/",
        "http://models.example:port/",
        "http://models example/",
        "http://-models.example/",
        "http://*.example/",
        "http://models.example%25/",
        "http://[::1/",
    ],
)
def test_what_is_no_url_with_a_host_is_refused(url: str) -> None:
    """By the setting's name; the value may hold a password and is not shown."""
    with pytest.raises(UsageError) as refusal:
        endpoint("ZEN_MCP_ENDPOINT", url)
    said = "ZEN_MCP_ENDPOINT: is no URL of http or https with a host in it; correct or empty it"
    assert said == str(refusal.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "0.0.0.0"])
def test_loopback_is_refused(host: str) -> None:
    """It would be the proxy's own; the sentence names what was meant."""
    with pytest.raises(UsageError, match=r"^ZEN_MCP_ENDPOINT: leads to the loopback .* write host\.docker\.internal"):
        endpoint("ZEN_MCP_ENDPOINT", f"http://{host}:11434/v1")


def test_a_name_of_hosts_leads_to_each_of_them() -> None:
    """https where they say nothing; blanks and a comma too many do not count."""
    hosts = "git.example, other.example:8443 ,http://hooks.example:8000,,https://[2001:db8::1]"
    found = endpoints(("SOME_HOSTS",), {"SOME_HOSTS": hosts})
    expected = ("[2001:db8::1]:443", "git.example:443", "hooks.example:8000", "other.example:8443")
    assert expected == tuple(sorted(one.authority for one in found))
    assert ["hooks.example:8000"] == [one.authority for one in found if one.plain]


@pytest.mark.parametrize(
    "hosts",
    ["git.example/group", "https://git.example/", "me:pass@git.example", "ftp://git.example", "git example", "*"],
)
def test_a_name_of_hosts_with_anything_else_is_refused(hosts: str) -> None:
    """Among good ones too, without its text."""
    told = refusals([{"containers": {"heimdall": {"egress": ["SOME_HOSTS"]}}}], {"SOME_HOSTS": f"ok.example,{hosts}"})
    assert 1 == len(told)
    assert told[0].startswith("SOME_HOSTS: ")
    assert "pass" not in told[0]


def test_an_empty_setting_leads_nowhere() -> None:
    """Nor does one that is not there."""
    assert () == endpoints(("ONE", "TWO"), {"ONE": ""})
    assert [] == refusals([{"containers": {"zen": {"egress": ["ONE", "TWO"]}}}], {"ONE": ""})


def test_the_same_place_is_one_endpoint() -> None:
    """Plain where one of the URLs is, whatever the order."""
    environment = {"ONE": "https://models.example:8000/a", "TWO": "http://models.example:8000/b"}
    expected = (Endpoint("models.example", 8000, plain=True),)
    assert expected == endpoints(("ONE", "TWO"), environment) == endpoints(("TWO", "ONE"), environment)


def test_every_bad_url_is_told_once() -> None:
    """Of all plans; settings that are no URLs, and containers of older releases, are not looked at."""
    plans = [
        {"containers": {"zen": {"egress": ["ZEN_MCP_ENDPOINT"]}, "github": {"egress": ["GITHUB_API_URL"]}}},
        {"containers": {"zen": {"egress": ["ZEN_MCP_ENDPOINT"]}, "heimdall": {}}},
    ]
    environment = {"ZEN_MCP_ENDPOINT": "ftp://x", "GITHUB_API_URL": "nothing", "ZEN_MODELS": "one,two"}
    found = refusals(plans, environment)
    assert ["GITHUB_API_URL", "ZEN_MCP_ENDPOINT"] == [line.partition(":")[0] for line in found]
