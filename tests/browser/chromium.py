"""A headless Chromium with one page, driven over the DevTools protocol through a pair of pipes.

It has only the few methods that the page tests need. Note: `--remote-debugging-pipe` makes the browser read
from descriptor 3 and write to 4, with a zero byte after each message, so no port is opened and no package is
needed.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_KEYS = {"Enter": ("\r", 13), " ": (" ", 32), "Tab": ("", 9), "Escape": ("", 27)}
_KEYS |= {"End": ("", 35), "Home": ("", 36)}
_KEYS |= {f"Arrow{way}": ("", 37 + code) for code, way in enumerate(("Left", "Up", "Right", "Down"))}
_LONGEST = 30.0
"""Seconds that the browser may take to end."""
_TAB = "Page.enable Runtime.enable Log.enable Network.enable"


class Page:
    """One tab; `events` is every event that the browser sent, in order."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = os.fdopen(reading, "rb", buffering=0)
        self._writing = os.fdopen(writing, "wb", buffering=0)
        self._rest = b""
        self._number = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for method in _TAB.split():
            self.call(method)

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._writing.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def wait(self, method: str) -> None:
        """Wait for an event that has not arrived yet."""
        while True:
            self.events.append(self._next())
            if self.events[-1]["method"] == method:
                return

    def open(self, file: Path, width: int, height: int, *, dark: bool = False) -> None:
        """Load a file in a window of this size and theme; a narrow window is a phone's."""
        phone = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])
        self.events.clear()
        self.call("Page.navigate", url=file.as_uri())
        if not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.wait("Page.loadEventFired")

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press and release each key."""
        for key in keys:
            text, code = _KEYS[key]
            one = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **one)
            self.call("Input.dispatchKeyEvent", type="keyUp", **one)

    def fit(self, last: str = "document.documentElement") -> None:
        """Enlarge the window so that the whole page down to an element is visible."""
        bottom = f"Math.ceil({last}.getBoundingClientRect().bottom + scrollY)"
        size = self.run(f"({{width: innerWidth, height: {bottom}}})")
        self.call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)

    def tap(self, element: str) -> None:
        """Touch the middle of an element, given as a JavaScript expression."""
        middle = "(({x, y, width, height}) => ({x: x + width / 2, y: y + height / 2}))"
        point = self.run(f"{middle}({element}.getBoundingClientRect())")
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[point])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def picture(self, file: Path, scale: float = 1) -> None:
        """Write a PNG screenshot of the window."""
        seen = self.run("({x: scrollX, y: scrollY, width: innerWidth, height: innerHeight})")
        shot = self.call("Page.captureScreenshot", format="png", clip={**seen, "scale": scale})
        file.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = self._reading.read(1 << 16)
            assert more, "the browser has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded


@contextmanager
def chromium() -> Iterator[Page]:
    """Yield a page in a browser with a new profile; ends the browser afterwards."""
    their_reading, our_writing = os.pipe()
    our_reading, their_writing = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The shell moves the pipes to the browser's descriptors; Debian's sh accepts no descriptor above 9.
        here = f'exec chromium "$@" 3<&{their_reading} 4>&{their_writing}'
        process = subprocess.Popen(
            ["bash", "-c", here, "bash", *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(their_reading, their_writing),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_reading)
        os.close(their_writing)
        try:
            yield Page(our_reading, our_writing)
        finally:
            process.terminate()
            process.wait(_LONGEST)
