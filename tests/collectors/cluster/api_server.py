"""A stand-in for the Kubernetes API server over real HTTP: paged lists, chunked watches with resource versions,
bookmarks and 410, bearer tokens that rotate, permissions, throttling. tests/collectors/cluster/test_api_server.py holds
it against the official client's own Watch.
"""

import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
KINDS = {"nodes": "Node", "pods": "Pod", "namespaces": "Namespace"}


def status(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


@dataclass
class Resource:
    """One kind of object: what is there, what happened (version, line), and the version that history begins after."""

    objects: dict[str, Object] = field(default_factory=dict)
    history: list[tuple[int, bytes]] = field(default_factory=list)
    floor: int = 0


class ApiServer:
    """Serves on 127.0.0.1. Its state is changed by the test at any time.

    `allowed`: (resource, verb) that are granted, None for all. `token`: the only one accepted, None for any. `trouble`:
    answers (status, headers, Status) by (resource, verb), given once each, in order. `asked`: every request granted.
    """

    def __init__(self) -> None:
        self.resources = {name: Resource() for name in KINDS}
        self.allowed: set[tuple[str, str]] | None = None
        self.token: str | None = None
        self.trouble: dict[tuple[str, str], list[tuple[int, Mapping[str, str], Object]]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.page_limit = 1 << 30
        self.watching = {name: 0 for name in KINDS}
        self._version = 1000
        self._snapshots: dict[str, list[bytes]] = {}
        self._changed = threading.Condition()
        self._cuts = 0
        self._stopping = False
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def put(self, resource: str, *objects: Object) -> None:
        """Add or change objects; watchers are told."""
        with self._changed:
            for one in objects:
                kept = self.resources[resource].objects
                kind = "MODIFIED" if one["metadata"]["uid"] in kept else "ADDED"
                kept[one["metadata"]["uid"]] = self._say(resource, kind, one)
            self._changed.notify_all()

    def delete(self, resource: str, uid: str, *, silent: bool = False, **changes: Any) -> None:
        """Take an object away; with `silent` no watcher is told. `changes` are in its last state."""
        with self._changed:
            one = self.resources[resource].objects.pop(uid)
            if not silent:
                self._say(resource, "DELETED", {**one, **changes})
            self._changed.notify_all()

    def say(self, resource: str, line: bytes) -> None:
        """Send a line to watchers, whatever it is."""
        with self._changed:
            self._version += 1
            self.resources[resource].history.append((self._version, line))
            self._changed.notify_all()

    def event(self, resource: str, kind: str, one: Object) -> None:
        """Send an event without changing what is there: a lie. The object's own version is kept."""
        self.say(resource, json.dumps({"type": kind, "object": one}).encode() + b"\n")

    def bookmark(self, resource: str) -> None:
        with self._changed:
            self._version += 1
            meta = {"resourceVersion": str(self._version), "creationTimestamp": None}
            one = {"kind": KINDS[resource], "apiVersion": "v1", "metadata": meta, "spec": {}, "status": {}}
            line = json.dumps({"type": "BOOKMARK", "object": one}).encode() + b"\n"
            self.resources[resource].history.append((self._version, line))
            self._changed.notify_all()

    def compact(self, resource: str) -> None:
        """Forget what happened: a watch from an older version is answered 410, as is the rest of a list."""
        with self._changed:
            kept = self.resources[resource]
            self._version += 1
            kept.history, kept.floor = [], self._version
            self._snapshots = {}

    def cut(self) -> None:
        """Break every watch that is under way, in the middle of a line."""
        with self._changed:
            self._cuts += 1
            self._changed.notify_all()

    def _say(self, resource: str, kind: str, one: Object) -> Object:
        self._version += 1
        versioned = {**one, "metadata": {**one["metadata"], "resourceVersion": str(self._version)}}
        line = json.dumps({"type": kind, "object": versioned}).encode() + b"\n"
        self.resources[resource].history.append((self._version, line))
        return versioned

    def page(self, resource: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        """One page of a list: (status, body)."""
        with self._changed:
            if "continue" in query:
                key, _, start = query["continue"].rpartition("/")
                if key not in self._snapshots:
                    return 410, json.dumps(
                        status(410, "Expired", "The provided continue parameter is too old")
                    ).encode()
            else:
                key, start = f"{resource}/{self._version}", "0"
                kept = sorted(self.resources[resource].objects.values(), key=_place)
                self._snapshots[key] = [json.dumps(one).encode() for one in kept]
            items = self._snapshots[key]
            end = int(start) + min(int(query.get("limit") or self.page_limit), self.page_limit)
            meta: Object = {"resourceVersion": key.rpartition("/")[2]}
            if end < len(items):
                meta |= {"continue": f"{key}/{end}", "remainingItemCount": len(items) - end}
            head = json.dumps({"kind": f"{KINDS[resource]}List", "apiVersion": "v1", "metadata": meta})
            body = b",".join(items[int(start) : end])
            return 200, head[:-1].encode() + b', "items": [' + body + b"]}"

    def events(self, resource: str, since: int, seconds: float) -> Iterator[bytes]:
        """The lines of one watch; an empty line asks for the connection to be broken."""
        with self._changed:
            cuts = self._cuts
            self.watching[resource] += 1
            try:
                while True:
                    fresh = [(at, line) for at, line in self.resources[resource].history if at > since]
                    for at, line in fresh:
                        yield line
                        since = at
                    if self._cuts != cuts:
                        yield b""
                        return
                    if self._stopping or not (fresh or self._changed.wait(seconds)):
                        return
            finally:
                self.watching[resource] -= 1


def _place(one: Object) -> tuple[str, str]:
    return one["metadata"].get("namespace", ""), one["metadata"]["name"]


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""


def _handler(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        api = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    api: ApiServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        resource = url.path.rpartition("/")[2]
        verb = "watch" if query.get("watch") in ("true", "True", "1") else "list"
        if url.path not in {f"/api/v1/{name}" for name in KINDS}:
            return self._answer(404, status(404, "NotFound", f"the server could not find {url.path}"))
        if self.api.token is not None and self.headers.get("Authorization") != f"Bearer {self.api.token}":
            return self._answer(401, status(401, "Unauthorized", "Unauthorized"))
        if self.api.allowed is not None and (resource, verb) not in self.api.allowed:
            text = f'{resource} is forbidden: User "x" cannot {verb} resource "{resource}" in API group ""'
            return self._answer(403, status(403, "Forbidden", text))
        self.api.asked.append((resource, verb, query))
        if waiting := self.api.trouble.get((resource, verb)):
            code, headers, body = waiting.pop(0)
            return self._answer(code, body, headers)
        if verb == "list":
            return self._answer(*self.api.page(resource, query))
        return self._watch(resource, query)

    def _answer(self, code: int, body: Object | bytes, headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _watch(self, resource: str, query: Mapping[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        since = int(query.get("resourceVersion") or 0)
        if since < self.api.resources[resource].floor:
            gone = {"type": "ERROR", "object": status(410, "Expired", f"too old resource version: {since}")}
            return self._chunks([json.dumps(gone).encode() + b"\n"])
        return self._chunks(self.api.events(resource, since, float(query.get("timeoutSeconds") or 3600)))

    def _chunks(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            if not line:
                self.wfile.write(b'40\r\n{"type":"ADDED","object":{"metadata":{"uid"')
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[ApiServer]:
    server = ApiServer()
    try:
        yield server
    finally:
        server.stop()
