"""The real server on loopback, in a thread, for as long as a test needs it."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from exporter.publish.web import App, Publication, config


@contextmanager
def serving(publication: Publication) -> Iterator[int]:
    """Serve `publication` on 127.0.0.1; gives the port."""
    server = uvicorn.Server(config(App(publication), host="127.0.0.1", port=0))
    started = threading.Event()
    startup = server.startup

    async def announce(*args: object, **kwargs: object) -> None:
        await startup(*args, **kwargs)  # type: ignore[arg-type]  # passed on as they came
        started.set()

    server.startup = announce  # type: ignore[method-assign]  # uvicorn has no other sign of being ready
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30), "the server did not start"
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


def request(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """(status, headers by lower-case name, body) of one request; `_` in a header's name stands for `-`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()
