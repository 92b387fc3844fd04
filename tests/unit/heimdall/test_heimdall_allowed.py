"""Which URLs a caller may name."""

from __future__ import annotations

import pytest
from heimdall.allowed import checked, hosts_of
from heimdall.refused import RefusedError

from stepdown.errors import UsageError

HOSTS = hosts_of(
    {"V": "git.example, other.example:8443,http://hooks.example:8000"}, "V", "setting_v", ("https", "http")
)


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/group/project.git",
        "https://GIT.example:443/p",
        "https://other.example:8443/p%20q/~user/+x",
        "http://hooks.example:8000/p?a=1&b=2",
        "https://git.example",
    ],
)
def test_a_url_of_an_allowed_host_passes(url: str) -> None:
    """By scheme, host and port, whatever the case and whether the port is written."""
    assert url == checked("url", url, HOSTS, query=True)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://evil.example/p", 403),
        ("https://git.example.evil.example/p", 403),
        ("https://git.example:8443/p", 403),
        ("http://git.example/p", 403),
        ("https://hooks.example:8000/p", 403),
        ("https://127.0.0.1/p", 403),
        ("https://me:pass@git.example/p", 400),
        ("https://git.example@evil.example/p", 400),
        ("https://evil.example\\@git.example/p", 400),
        ("https://git.example\\.evil.example/p", 400),
        ("https://git.example/p#fragment", 400),
        ("https://git.example/p q", 400),
        ("https://git.example/p\nHost: x", 400),
        ("https://git.example/ü", 400),
        ("https://[::1]/p", 400),
        ("https://git.example:99999999/p", 400),
        ("ssh://git.example/p", 400),
        ("git@git.example:p", 400),
        ("ext::sh -c x", 400),
        ("file:///etc/passwd", 400),
        ("--upload-pack=x", 400),
        ("//git.example/p", 400),
        ("", 400),
        ("https://git.example/" + "p" * 2000, 400),
    ],
)
def test_any_other_url_is_refused(url: str, status: int) -> None:
    """In a sentence without a password."""
    with pytest.raises(RefusedError, match=r"^url: ") as refusal:
        checked("url", url, HOSTS, query=True)
    assert status == refusal.value.status
    assert "pass" not in str(refusal.value)


def test_a_repository_has_no_query() -> None:
    """A callback may."""
    with pytest.raises(RefusedError, match="should be like https://HOST/PATH"):
        checked("url", "https://git.example/p?x=1", HOSTS)


def test_without_hosts_the_setting_is_named() -> None:
    """In the inventory and in the container."""
    with pytest.raises(RefusedError, match=r"no host is allowed\. List hosts in setting_v \(V\)") as refusal:
        checked("url", "https://git.example/p", hosts_of({}, "V", "setting_v", ("https",)))
    assert 403 == refusal.value.status


def test_a_refusal_names_the_hosts_that_are_known() -> None:
    """So that a caller can do better."""
    with pytest.raises(RefusedError, match=r"\(known: http://hooks\.example:8000, https://git\.example:443, "):
        checked("url", "https://evil.example/p", HOSTS)


@pytest.mark.parametrize(
    "hosts", ["git.example/x", "http://git.example", "a b", "*", "git.example:x", "me@git.example"]
)
def test_a_list_of_anything_else_stops_the_start(hosts: str) -> None:
    """By the name of its variable."""
    with pytest.raises(UsageError, match=r"^V: should be hosts of https with commas between them"):
        hosts_of({"V": hosts}, "V", "setting_v", ("https",))
