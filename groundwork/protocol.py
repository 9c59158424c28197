"""HTTP/1.1 as uvicorn speaks it, without protocol upgrades and trailers, in limited memory."""

import asyncio
import sys
from typing import Any, cast, override

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_MAX_HEAD_BYTES = 65_536  # parsed, short headers take 19 times their bytes
_MAX_COPIED = 65_536  # slow clients share a larger body, if the application has it only once
_MAX_WAITING = 8  # pipelined requests; while more wait, no more are parsed
_PIECE = 8192  # bytes that are parsed at once: a parsed request may take 60 times its bytes


class CoalescingTransport:
    """Writes the head of a response together with the piece of its body that follows at once.

    Each write is a packet, and a second one takes some 3 % of a small request. A head without a
    body, such as that of an event stream, goes in the next turn of the event loop.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write the data, behind a head that waits for it."""
        if self._head and len(data) <= _MAX_COPIED:
            data, self._head = self._head + data, b""
        elif self._head:
            self._transport.write(self._head)
            self._head = b""
        elif data.startswith(b"HTTP/"):
            self._head = data
            asyncio.get_running_loop().call_soon(self.flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection when all is written."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Write a head that waits."""
        if self._head and not self.is_closing():
            self.write(b"")


class Protocol(HttpToolsProtocol):
    """Ignores Upgrade and trailers, as a server may (RFC 9110, 7.8 and 6.5.1).

    httptools takes what follows a request with Upgrade for another protocol's: its body would be
    lost, or be taken for the next request, and uvicorn adds trailers to the headers.
    """

    _data = _rest = b""  # what is being parsed, and what is not parsed yet
    _kept = 0  # bytes since the end of a request's headers, or since a piece of its body
    _started: RequestResponseCycle = None  # type: ignore[assignment]  # before a request

    @override
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", CoalescingTransport(transport))
        end = self.timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, end)
        parse, resume, waiting = self.data_received, self.flow.resume_reading, self.pipeline
        self.flow.resume_reading = lambda: (parse(b""), len(waiting) > _MAX_WAITING or resume())  # type: ignore[assignment,method-assign]

    @override
    def _unset_keepalive_if_required(self) -> None:
        """Do nothing at the first bytes: a client that sends part of a head is idle, too."""

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._started = cycle
        super()._start_asgi_task(cycle, app)

    @override
    def on_response_complete(self) -> None:
        cast("CoalescingTransport", self.transport).flush()  # a response to HEAD is only a head
        super().on_response_complete()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.cycle = self._started  # else only the last pipelined request is notified
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()
        del self.flow.resume_reading  # holds the flow, which would wait for garbage collection

    @override
    def data_received(self, data: bytes) -> None:
        self._rest += data
        while self._rest and len(self.pipeline) <= _MAX_WAITING and not self.transport.is_closing():
            self._data, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            self._kept += len(self._data)
            super().data_received(self._data)
            if self._kept > _MAX_HEAD_BYTES and not self.transport.is_closing():
                self.logger.warning(text := f"The headers have more than {_MAX_HEAD_BYTES} bytes.")
                self.send_400_response(text)

    @override
    def on_body(self, body: bytes) -> None:
        self._kept = 0
        super().on_body(body)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value.rstrip(b" \t"))  # as uvicorn does with h11

    @override
    def on_headers_complete(self) -> None:
        super()._unset_keepalive_if_required()
        super().on_headers_complete()
        self._kept = 0
        self.headers = []  # for the trailers

    @override
    def _should_upgrade(self) -> bool:
        """Let uvicorn skip the request, and call the next method at its end."""
        return self.scope["method"] != "CONNECT"  # has no body, whatever its headers say

    @override
    def handle_websocket_upgrade(self) -> None:
        """Parse the request again without its Upgrade header, and then what follows."""
        error = sys.exception()
        assert isinstance(error, HttpParserUpgrade)  # noqa: S101 - uvicorn calls it for no other
        (offset,) = error.args
        method, version = self.scope["method"].encode(), self.scope["http_version"].encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % one for one in self.scope["headers"] if one[0] != b"upgrade"]
        self._rest = b"\r\n".join((*lines, b"", self._data[offset:] + self._rest))
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
