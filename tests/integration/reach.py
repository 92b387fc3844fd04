"""What can be reached from inside a container, with nothing but the Python that is in it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

DIRECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5).close()
    print('"reached"')
except OSError as error:
    import json; print(json.dumps(str(error)))
"""
LOOKUP = """
import json, socket, sys, time
begun = time.monotonic()
try:
    found = socket.getaddrinfo(sys.argv[1], 443)[0][4][0]
except OSError as error:
    found = None
print(json.dumps([found, time.monotonic() - begun]))
"""
# by hand, so that the Host header and others can be what a program that means ill would send
PROXIED = """
import http.client, json, socket, sys
proxy, method, target, headers = json.loads(sys.argv[1])
plug = socket.create_connection(proxy, timeout=10)
lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
plug.sendall("\\r\\n".join(lines).encode())
answer = http.client.HTTPResponse(plug, method=method)
answer.begin()
print(json.dumps([answer.status, answer.read().decode() if method == "GET" or answer.status != 200 else ""]))
"""


@dataclass(frozen=True)
class Inside:
    """A running container, and the address of the egress proxy."""

    identity: str
    proxy: str
    port: int = 3128

    def direct(self, host: str, port: int) -> str:
        """`reached`, or why a connection past the proxy was not made."""
        return str(self.python(DIRECT, host, str(port)))

    def lookup(self, name: str) -> tuple[str | None, float]:
        """The address that a name has, or None, and the seconds that it took to know."""
        found, seconds = self.python(LOOKUP, name)
        return found, float(seconds)

    def get(self, url: str, **headers: str) -> tuple[int, str]:
        """Status and body of a request with a whole URL; `headers` replace the right ones."""
        return self._proxied("GET", url, {"Host": url.split("/")[2], "Connection": "close", **headers})

    def tunnel(self, authority: str, **headers: str) -> tuple[int, str]:
        """Status of a CONNECT, and the body of a refusal."""
        return self._proxied("CONNECT", authority, {"Host": authority, **headers})

    def python(self, script: str, *arguments: str, interpreter: str = "python3", **environment: str) -> Any:
        """The JSON that a script prints."""
        settings = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        argv = ["docker", "exec", *settings, self.identity, interpreter, "-c", script, *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _proxied(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, str]:
        status, body = self.python(PROXIED, json.dumps([[self.proxy, self.port], method, target, headers]))
        return int(status), str(body)
