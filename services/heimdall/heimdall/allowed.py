"""URLs that a caller may name: at hosts that the settings of the instance list, and of a form that all read alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from heimdall.documents import URL_CHARACTERS
from heimdall.refused import RefusedError
from stepdown.errors import UsageError, sentence

PORTS = {"http": 80, "https": 443}
HOST = r"(?P<host>[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?)(:(?P<port>[0-9]{1,5}))?"
ITEM = re.compile(rf"((?P<scheme>https?)://)?{HOST}")
# Narrower than RFC 3986: two programs read these characters the same way, and none of them hides another host.
CHARACTERS = r"[A-Za-z0-9._~%!$&'()*+,;=:@/-]*"
URL = re.compile(rf"(?P<scheme>https?)://{HOST}(?P<path>/{CHARACTERS})?(?P<query>\?{CHARACTERS})?")


@dataclass(frozen=True)
class Hosts:
    """Places that a setting lists, each as scheme, host and port; `variable` gives the setting to the inventory."""

    variable: str
    setting: str
    places: frozenset[tuple[str, str, int]]


def hosts_of(environment: Mapping[str, str], variable: str, setting: str, schemes: tuple[str, ...]) -> Hosts:
    """The hosts of a variable, with commas between them, of https where they say nothing. Raises UsageError."""
    places = set()
    for item in filter(None, map(str.strip, environment.get(variable, "").split(","))):
        found = ITEM.fullmatch(item)
        if found is None or (found["scheme"] or "https") not in schemes:
            wrong = (
                f"should be hosts of {' or '.join(schemes)} with commas between them, as git.example,other.example:8443"
            )
            raise UsageError(sentence(variable, wrong))
        places.add(_place(found))
    return Hosts(variable, setting, frozenset(places))


def checked(where: str, url: str, hosts: Hosts, query: bool = False) -> str:
    """`url` when it leads to one of `hosts`. Raises RefusedError, which never shows more of it than its host."""
    if not hosts.places:
        wrong = f"is refused, for no host is allowed. List hosts in {hosts.setting} ({hosts.variable})"
        raise RefusedError(sentence(where, wrong), 403)
    if re.match(r"[^/?#]*//[^/?#]*@", url):
        raise RefusedError(sentence(where, "has credentials in it; send none"))
    found = URL.fullmatch(url) if len(url) <= URL_CHARACTERS else None
    if found is None or (found["query"] and not query):
        raise RefusedError(sentence(where, f"should be like https://HOST/PATH, of at most {URL_CHARACTERS} characters"))
    if _place(found) not in hosts.places:
        known = sorted(f"{scheme}://{host}:{port}" for scheme, host, port in hosts.places)
        shown = "{}://{}:{}".format(*_place(found))
        raise RefusedError(sentence(where, f"{shown} is not allowed by {hosts.setting}", known), 403)
    return url


def _place(found: re.Match[str]) -> tuple[str, str, int]:
    scheme = found["scheme"] or "https"
    return scheme, found["host"].lower(), int(found["port"] or PORTS[scheme])
