"""A Git host over https: git's own http-backend behind Python, with the tempers of bad ones."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.doubles.served import Quiet, Served
from tests.doubles.tls import certificate


class GitHost(Served):
    """Serves the repositories of `folder` as https://localhost:`port`/NAME until closed; `ca` is its authority as PEM.

    Paths that begin with a temper answer so instead: /redirect/… to `elsewhere`, /private/… wants a password, /hang/…
    never answers, /dumb/… gives files of the repository and does not speak git's protocol. `asked` holds method and
    path of every request.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1", names: tuple[str, ...] = ("localhost",)) -> None:
        self.ca, pem = certificate(names)
        self.folder, self.elsewhere = folder, ""
        self.asked: list[tuple[str, str]] = []
        self._open = threading.Event()
        host = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self._body())

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return body
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def _answer(self, body: bytes) -> None:
                host.asked.append((self.command, self.path))
                temper = self.path.split("/")[1]
                if temper == "hang":
                    host._open.wait()
                elif temper == "redirect":
                    self._send(302, {"Location": host.elsewhere + self.path.removeprefix("/redirect")}, b"")
                elif temper == "private":
                    self._send(401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
                elif temper == "dumb":
                    self._file(self.path.partition("?")[0].removeprefix("/dumb/"))
                else:
                    self._git(body)

            def _file(self, path: str) -> None:
                name, _, inside = path.partition("/")
                file = host.folder / name / ".git" / inside
                self._send(200, {}, file.read_bytes()) if file.is_file() else self._send(404, {}, b"")

            def _git(self, body: bytes) -> None:
                """RFC 3875, as git-http-backend(1) wants it."""
                path, _, query = self.path.partition("?")
                environment = {
                    "PATH": os.environ["PATH"],
                    "GIT_PROJECT_ROOT": str(host.folder),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "GIT_CONFIG_COUNT": "1",
                    "GIT_CONFIG_KEY_0": "safe.directory",
                    "GIT_CONFIG_VALUE_0": "*",
                    "REQUEST_METHOD": self.command,
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                }
                done = subprocess.run(
                    ("git", "http-backend"), env=environment, input=body, capture_output=True, check=True
                )
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
                self._send(int(headers.pop("Status", "200").split()[0]), headers, content)

            def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        (folder / "server.pem").write_text(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        (folder / "server.pem").unlink()
        super().__init__(Handler, address, tls=context)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def close(self) -> None:
        """Stop serving."""
        self._open.set()
        super().close()
