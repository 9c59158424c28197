"""Headless Chromium for tests, driven through its own pipe: no driver, no package, no port."""

import itertools
import json
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.servers import PATIENCE, end

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # which root may not have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# Chromium reads the DevTools protocol from descriptor 3 and writes it to 4.
_PIPE = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'


class Browser:
    """One tab of it: the DevTools protocol, JSON messages with a NUL between them."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.errors: list[str] = []
        self._process = process
        self._numbers = itertools.count(1)
        self._unread = b""
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")
        attached = self.call("Target.attachToTarget", **target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.call("Log.enable")
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | self._session
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        while (answer := self._receive()).get("id") != number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.protocol !== 'about:'")

    def evaluate(self, script: str) -> Any:
        """Return what an expression is in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Wait until an expression holds in the page."""
        deadline = time.monotonic() + PATIENCE
        while not self.evaluate(script):
            if time.monotonic() > deadline:
                raise TimeoutError(script, self.evaluate("document.body.innerText"))
            time.sleep(0.05)

    def _receive(self) -> dict[str, Any]:
        output = self._process.stdout
        assert output is not None
        while b"\0" not in self._unread:
            if not select.select([output], [], [], PATIENCE)[0]:
                raise TimeoutError
            data = output.read(65536)
            if not data:
                raise EOFError
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Log.entryAdded":
            entry = event["params"]["entry"]
            if entry["level"] == "error":
                self.errors.append(entry["text"])


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium with a profile of its own, and end it afterwards."""
    assert CHROMIUM is not None
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={Path(folder) / 'profile'}"]
        process = subprocess.Popen(
            ["sh", "-c", _PIPE, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        try:
            yield Browser(process)
        finally:
            end(process)
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                stream.close()
