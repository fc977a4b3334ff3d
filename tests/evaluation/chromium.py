"""Chromium without a window, driven over two pipes: clicks, keys, what it logs and asks for."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

FOUND = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Tab": 9, "Enter": 13, "End": 35, "Home": 36}


class Page:
    """One open page. A context manager.

    Attributes:
        logged: What the console and the browser said of it, exceptions included.
        requested: The addresses it asked for.
    """

    def __init__(self, path: Path, profile: Path, size: tuple[int, int] = (1200, 900)) -> None:
        assert FOUND is not None
        to_browser, commands = os.pipe()
        answers, from_browser = os.pipe()

        def as_expected() -> None:  # 3 is read, 4 is written
            ends = os.dup(to_browser), os.dup(from_browser)
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self._process = subprocess.Popen(
            [
                FOUND, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--hide-scrollbars",
                f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}",
                "--remote-debugging-pipe", "about:blank",
            ],
            close_fds=False, preexec_fn=as_expected,  # noqa: PLW1509 - dup2 alone
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._commands, self._answers = os.fdopen(commands, "wb", 0), os.fdopen(answers, "rb")
        self._number, self._rest, self._session = 0, b"", None
        self.logged: list[str] = []
        self.requested: list[str] = []
        self._loaded = False
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + 60
        while not self._loaded:
            assert time.monotonic() < deadline
            self.js("0")  # events come with its answer

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = self._answers.read1(1 << 16)
            assert more, "the browser went away"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        method, values = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled":
            self.logged.append(str(values["args"]))
        elif method == "Runtime.exceptionThrown":
            self.logged.append(str(values["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.logged.append(values["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(values["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True

    def js(self, expression: str) -> Any:
        """What an expression gives there."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def key(self, name: str, times: int = 1) -> None:
        """Press a key."""
        text = {"text": "\r"} if name == "Enter" else {}
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.call(
                    "Input.dispatchKeyEvent", type=kind, key=name, code=name,
                    windowsVirtualKeyCode=_KEYS[name], **(text if kind == "keyDown" else {}),
                )  # fmt: skip

    def click(self, expression: str) -> None:
        """Click the middle of an element."""
        self.js(f"({expression}).scrollIntoView({{block: 'center', inline: 'center'}})")
        x, y = self.js(
            f"(box => [box.x + box.width / 2, box.y + box.height / 2])"
            f"(({expression}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self) -> bytes:
        """The page from top to bottom, as PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._commands.close()
        self._process.terminate()
        self._process.wait(timeout=30)
        self._answers.close()
