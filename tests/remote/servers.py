"""Servers on the loopback: nginx, one that speaks S3, one that speaks the hub's API, and one that
misbehaves on purpose."""

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(url: str, process: "subprocess.Popen[bytes]", seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        with contextlib.suppress(OSError):
            try:
                urllib.request.urlopen(url, timeout=1).close()
            except urllib.error.HTTPError as error:
                error.close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"no server came up at {url}")


def find_nginx() -> str:
    """nginx, installed where that may be done; else the test is skipped."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["update"], ["install", "-y", "--no-install-recommends", "nginx-light"]):
            subprocess.run(["apt-get", *command], capture_output=True, check=False, timeout=120)
        found = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if found is None:
        pytest.skip("needs nginx (apt-get install nginx-light)")
    return found


@contextlib.contextmanager
def running(process: "subprocess.Popen[bytes]", port: int, ready: str = "") -> Iterator[str]:
    """The URL of a server that is starting, once a path of it answers; it ends with the block."""
    try:
        wait_for(f"http://127.0.0.1:{port}/{ready}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def nginx(folder: Path, scratch: Path, lines: str = "autoindex on;") -> Iterator[str]:
    """Serve a folder; gives the URL of its root."""
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    kept = "".join(
        f"{name}_temp_path {scratch}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = scratch / "nginx.conf"
    config.write_text(
        f"{user} worker_processes 1; daemon off; pid {scratch}/pid; error_log {scratch}/error;"
        f"events {{ worker_connections 512; }} http {{ access_log {scratch}/access; sendfile on;"
        f"tcp_nodelay on; keepalive_requests 100000; {kept} server {{ listen 127.0.0.1:{port};"
        f"location / {{ root {folder}; {lines} }} }} }}"
    )
    process = subprocess.Popen([find_nginx(), "-p", str(scratch), "-c", str(config)],
                               stderr=subprocess.DEVNULL)  # fmt: skip
    with running(process, port) as url:
        yield url


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """An S3 server in a process of its own; gives its endpoint."""
    pytest.importorskip("moto", reason="needs moto's S3 server")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    keys = {"INITIAL_NO_AUTH_ACTION_COUNT": "1000000000"}
    process = subprocess.Popen(
        command, env=os.environ | keys, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with running(process, port, "moto-api/") as url:
        yield url


Behave = Callable[["Faulty", dict[str, str], int], None]


class Faulty:
    """A real TCP server that answers as a test says; it knows ranges itself.

    `behave(server, headers, number)` handles the request of a number by writing to `wire`; what is
    not handled there `serve` answers as it should be.
    """

    def __init__(self, files: dict[str, bytes], behave: Any) -> None:
        self.files, self.behave = files, behave
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.opened = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                wire, _ = self._listener.accept()
            except OSError:
                if self._stop.wait(0.01):
                    return
                continue  # a test that leaves this process no handle is not the server's end
            self.opened += 1
            threading.Thread(target=self._talk, args=(wire,), daemon=True).start()

    def _talk(self, wire: socket.socket) -> None:
        with contextlib.suppress(OSError), wire, wire.makefile("rb") as lines:
            while line := lines.readline():
                headers = {}
                while (row := lines.readline().strip()) != b"":
                    name, _, value = row.decode().partition(": ")
                    headers[name.lower()] = value
                path = urllib.parse.unquote(line.split()[1].decode())
                with self._lock:
                    self.requests.append((path, headers))
                    number = len(self.requests)
                if not self.behave(self, wire, path, headers, number):
                    self.serve(wire, path, headers)

    def stall(self, seconds: float) -> None:
        """Keep silent until so long, or the end."""
        self._stop.wait(seconds)

    def serve(
        self, wire: socket.socket, path: str, headers: dict[str, str], tag: str = "", cut: int = 0,
        span: str = "",
    ) -> None:  # fmt: skip
        """Answer a request for a file or a list of names; `cut` bytes of the body are not sent."""
        name = path.partition("?")[0].lstrip("/")
        if name not in self.files:
            self.say(wire, 404)
            return
        data = self.files[name]
        tag = tag or hashlib.md5(data).hexdigest()
        extra = f'ETag: "{tag}"\r\n'
        if "range" not in headers:
            self.say(wire, 200, data, extra)
            return
        first, last = (int(n) for n in headers["range"].removeprefix("bytes=").split("-"))
        if first >= len(data):
            self.say(wire, 416, b"", extra + f"Content-Range: bytes */{len(data)}\r\n")
            return
        part = data[first : last + 1]
        span = span or f"bytes {first}-{first + len(part) - 1}/{len(data)}"
        self.say(wire, 206, part, extra + f"Content-Range: {span}\r\n", cut)

    def say(
        self, wire: socket.socket, status: int, body: bytes = b"", extra: str = "", cut: int = 0
    ) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode()
        wire.sendall(head + body[: len(body) - cut])
        if cut:
            wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def asked_for(self, name: str) -> int:
        """How many requests there were for a file."""
        return sum(path.partition("?")[0] == f"/{name}" for path, _ in self.requests)


class _HubHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Hub"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        path = parts.path  # quoted
        with self.server.lock:
            self.server.requests.append((self.path, self.headers.get("Authorization")))
        tree = f"/api/datasets/{self.server.id}/tree/main"
        resolve = f"/datasets/{self.server.id}/resolve/main/"
        if path.startswith("/cdn/"):
            self._cdn(urllib.parse.unquote(path[5:]), query)
        elif self.server.token and self.headers.get("Authorization") != self.server.token:
            self._say(401)
        elif path.startswith(tree):
            self._tree(urllib.parse.unquote(path[len(tree) :]).strip("/"), query)
        elif path.startswith(resolve):
            self._resolve(urllib.parse.unquote(path[len(resolve) :]))
        else:
            self._say(404)

    def _tree(self, folder: str, query: dict[str, str]) -> None:
        base = f"{folder}/" if folder else ""
        items: dict[str, dict[str, Any]] = {}
        for name, data in self.server.files.items():
            if not name.startswith(base):
                continue
            first, deeper, _ = name[len(base) :].partition("/")
            if deeper:
                items[base + first] = {"type": "directory", "path": base + first, "size": 0,
                                       "oid": "0"}  # fmt: skip
            if not deeper or query["recursive"] == "true":
                oid = hashlib.sha256(data).hexdigest()
                items[name] = {"type": "file", "path": name, "size": len(data), "oid": "git",
                               "lfs": {"oid": oid, "size": len(data)}}  # fmt: skip
        if not items:
            self._say(404)
            return
        start, step = int(query.get("cursor", 0)), self.server.page
        rows = sorted(items.values(), key=lambda item: str(item["path"]))
        link = ""
        if start + step < len(rows):
            query["cursor"] = str(start + step)
            url = f"{self.server.url}{self.path.partition('?')[0]}?{urllib.parse.urlencode(query)}"
            link = f'<{url}>; rel="next"'
        self._say(200, json.dumps(rows[start : start + step]).encode(), Link=link)

    def _resolve(self, name: str) -> None:
        if name not in self.server.files:
            self._say(404)
            return
        oid = hashlib.sha256(self.server.files[name]).hexdigest()
        place = (
            f"{self.server.cdn}/cdn/{urllib.parse.quote(name)}?signature={self.server.signature}"
        )
        self._say(302, b"", Location=place, X_Linked_ETag=f'"{oid}"',
                  X_Linked_Size=str(len(self.server.files[name])))  # fmt: skip

    def _cdn(self, name: str, query: dict[str, str]) -> None:
        if query.get("signature") != self.server.signature:
            self._say(403)
            return
        data = self.server.files[name]
        first, last = (int(n) for n in self.headers["Range"].removeprefix("bytes=").split("-"))
        if first >= len(data):
            self._say(416, Content_Range=f"bytes */{len(data)}")
            return
        part = data[first : last + 1]
        span = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
        self._say(206, part, Content_Range=span, ETag='"of the cdn"')

    def _say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Hub(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """The hub's API over files in memory. Its CDN is the same server by another name."""

    daemon_threads = True
    id, page, token, signature = "org/name", 3, "", "first"

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _HubHandler)
        self.files = files
        self.requests: list[tuple[str, str | None]] = []
        self.lock = threading.Lock()
        port = self.server_address[1]
        self.url, self.cdn = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
