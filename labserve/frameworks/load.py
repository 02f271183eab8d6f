"""A load generator light enough not to be what is measured: one thread, plain sockets, no HTTP library."""

import re
import selectors
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass

PATIENCE = 30.0  # seconds without any answer before a server counts as stuck
LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Load:
    """What a load came to: requests answered, seconds until the last answer, CPU seconds of the client."""

    requests: int
    seconds: float
    client_cpu: float

    @property
    def per_second(self) -> float:
        """Requests answered per second."""
        return self.requests / self.seconds


def load(port: int, path: str, *, connections: int, seconds: float) -> Load:
    """Request `path` on keep-alive connections to 127.0.0.1, one request in flight on each, for `seconds`.

    Every connection sends at least one request, so with `seconds=0` it is a burst of `connections` requests.
    Raises `RuntimeError` for an answer that is not 200, `ConnectionError` or `TimeoutError` for none.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        opened = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
            for _ in range(connections)
        ]
        start, cpu, answered = time.perf_counter(), time.thread_time(), 0
        for connection in opened:
            selector.register(connection, selectors.EVENT_READ, (connection, bytearray()))
            connection.sendall(request)
        while selector.get_map():
            ready = selector.select(PATIENCE)
            if not ready:
                raise TimeoutError(f"{path}: no answer within {PATIENCE:g} s")
            for key, _ in ready:
                connection, received = key.data
                received += connection.recv(65536) or _closed(path)
                if not _is_whole(received):
                    continue
                answered += 1
                received.clear()
                if time.perf_counter() - start < seconds:
                    connection.sendall(request)
                else:
                    selector.unregister(connection)
        return Load(answered, time.perf_counter() - start, time.thread_time() - cpu)


def _is_whole(received: bytearray) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    length = LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise RuntimeError(f"not an answer of status 200 with a length: {bytes(received[:80])!r}")
    return len(body) >= int(length[1])


def _closed(path: str) -> bytes:
    raise ConnectionError(f"{path}: the server has closed the connection")
