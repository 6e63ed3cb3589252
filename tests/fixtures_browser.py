"""Pages in headless Chromium, where there is one: one start for one page, or one that is driven through many."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
with_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --enable-unsafe-swiftshader --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
LONGEST_S = 1800  # after which a browser that is driven is ended


def browse(tmp_path: Path, page: Path | str, options: list[str]) -> tuple[str, str]:
    """Standard output and the page's console messages, of a start for one page."""
    address = page if isinstance(page, str) else page.as_uri()
    profile = tmp_path / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    command = [str(CHROMIUM), *FLAGS, "--enable-logging=stderr", f"--user-data-dir={profile}", *options, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def with_script(html: str, script: str) -> str:
    """The page with a script at its end, which its policy would not let run."""
    html = re.sub(r"script-src 'sha256-[^']*'", "script-src 'unsafe-inline'", html)
    return html.replace("</body>", f"<script>{script}</script></body>")


class Browser:
    """One tab, driven by Chrome's DevTools protocol over a pipe. Not thread-safe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from, self._number, self._session = process.stdin, process.stdout, 0, ""
        self._read, self._loaded, self.said = b"", False, list[str]()
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """One command's answer; what the page said meanwhile is kept in `said`."""
        self._number += 1
        self._tell(self._number, method, params)
        while (found := self._next()).get("id") != self._number:
            pass
        assert "error" not in found, (method, found)
        return dict(found["result"])

    def _tell(self, number: int, method: str, params: dict[str, Any]) -> None:
        told: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            told["sessionId"] = self._session
        self._to.write(json.dumps(told).encode() + b"\0")
        self._to.flush()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            part = self._from.read1(1 << 20)  # type: ignore[attr-defined]
            assert part, "the browser ended"
            self._read += part
        one, _, self._read = self._read.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        if found.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.said.append(json.dumps(found["params"])[:500])
        self._loaded |= found.get("method") == "Page.loadEventFired"
        if found.get("method") == "Page.javascriptDialogOpening":
            self.said.append("a dialog opened")
            self._tell(0, "Page.handleJavaScriptDialog", {"accept": True})
        return found

    def open(self, address: str, width: int, *, dark: bool = False, height: int = 900) -> None:
        """A page on a touch screen of this width, when it has loaded."""
        self.look(dark)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 1000}
        self("Emulation.setDeviceMetricsOverride", **size)
        self("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)
        self._loaded = False
        self("Page.navigate", url=address)
        while not self._loaded:
            self._next()

    def look(self, dark: bool) -> None:
        """The colours that the system prefers."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])

    def value(self, script: str) -> Any:
        """What an expression gives on the page; a promise is waited for."""
        found = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """`touchStart`, `touchMove` or `touchEnd` with fingers at these places."""
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)

    def key(self, name: str, **more: Any) -> None:
        """A key pressed and left."""
        code = {"Tab": 9, "ArrowLeft": 37, "ArrowRight": 39}.get(name, 0)
        for kind in ("rawKeyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **more)


@contextmanager
def driven(folder: Path) -> Iterator[Browser]:
    """A browser while the block runs; its pipe is handed on as standard input and output."""
    shell = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null'
    command = ["sh", "-c", shell, "sh", str(CHROMIUM), *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    end = threading.Timer(LONGEST_S, process.kill)
    end.start()
    try:
        yield Browser(process)
    finally:
        end.cancel()
        process.kill()
        process.wait()
