"""A headless Chromium that tests control by the DevTools protocol: they use pages as people do, with mouse, touch and keys."""

import atexit
import base64
import functools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest
from websockets.sync.client import connect

FOUND = next((path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))), None)

# Without a GPU, or with one that the processor imitates for WebGPU.
NO_GPU, WEBGPU = ("--disable-gpu",), ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")


@functools.cache
def _browser(flags: tuple[str, ...]) -> str:
    """Start the browser that all pages of this process with these flags share. Return the address of its protocol."""
    if FOUND is None:
        pytest.skip("no Chromium is installed")
    profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    process = subprocess.Popen(
        [FOUND, "--headless", "--no-sandbox", *flags, "--disable-dev-shm-usage", "--hide-scrollbars",
         "--remote-debugging-port=0", f"--user-data-dir={profile.name}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def end() -> None:
        process.kill()
        process.wait()
        profile.cleanup()

    atexit.register(end)
    announced = Path(profile.name, "DevToolsActivePort")
    deadline = time.monotonic() + 60
    while not announced.is_file() or not announced.read_text().count("\n"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return f"http://127.0.0.1:{announced.read_text().splitlines()[0]}/json"


class Page:
    """A page of the browser. Use as a context manager."""

    def __init__(self, place: Path | str, width: int, height: int, phone: bool = False, flags: tuple[str, ...] = NO_GPU) -> None:
        self.address = place if isinstance(place, str) else place.resolve().as_uri()
        self.size, self.phone, self.flags = (width, height), phone, flags
        self.errors: list[str] = []
        self.number = 0

    def __enter__(self) -> "Page":
        with urllib.request.urlopen(urllib.request.Request(f"{_browser(self.flags)}/new?about:blank", method="PUT")) as answer:
            self.target = json.load(answer)
        self.socket = connect(self.target["webSocketDebuggerUrl"], max_size=None)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        width, height = self.size
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=self.phone)
        if self.phone:
            self.call("Emulation.setTouchEmulationEnabled", enabled=True)
        self.call("Page.navigate", url=self.address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'", 120)  # a busy machine
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        urllib.request.urlopen(f"{_browser(self.flags)}/close/{self.target['id']}").close()

    def call(self, method: str, **params: object) -> dict:
        """Send a command of the DevTools protocol and return its result."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(str(params["entry"]))
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("data:", "blob:", self.address)):
            self.errors.append(f"asks for {params['request']['url']}")

    def js(self, expression: str) -> object:
        """Return the value of an expression in the page, and of a promise its result."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 30) -> None:
        """Wait for a condition of the page."""
        deadline = time.monotonic() + seconds
        while not self.js(condition):
            assert time.monotonic() < deadline, condition
            time.sleep(0.05)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Scroll an element into view and return its left, top, width and height."""
        self.js(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        found = self.js(
            f"(({{x, y, width, height}}) => [x, y, width, height])(document.querySelector({selector!r}).getBoundingClientRect())"
        )
        return tuple(found)  # type: ignore[arg-type,return-value]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse button, move the mouse and release the button."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=0 if kind == "mouseReleased" else 1, clickCount=1
            )

    def touch_drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Touch the page, move the finger and lift it."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": start[0], "y": start[1]}])
        self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": end[0], "y": end[1]}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, key: str) -> None:
        """Press and release a key, such as ``ArrowLeft`` or ``+``."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def choose(self, selector: str, *paths: Path) -> None:
        """Choose files for an input."""
        self.until(f"document.querySelector({selector!r}) !== null")
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path) for path in paths], nodeId=node)

    def downloaded(self, path: Path) -> Path:
        """Wait for a downloaded file and return its path. Its last name comes when it is complete."""
        deadline = time.monotonic() + 30
        while not path.is_file():
            assert time.monotonic() < deadline, path
            time.sleep(0.05)
        return path

    def picture(self, path: Path) -> None:
        """Write what is in view as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
