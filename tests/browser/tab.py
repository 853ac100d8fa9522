"""One tab of Chromium, spoken to by the DevTools protocol over aiohttp: enough to open, type, press, look and print."""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "Space": 32, "ArrowDown": 40, "Backspace": 8}
TEXT_OF_KEYS = {"Enter": "\r", "Space": " "}
LARGEST_MESSAGE = 64 * 1024 * 1024
"""Bytes; a printed page comes as one message."""
ANSWER_SECONDS = 30
SHIFT = 8


@dataclass
class Tab:
    """A tab with cookies of its own. `problems` are errors of scripts, refused loads and broken policies so far."""

    socket: ClientWebSocketResponse
    session: str = ""
    problems: list[str] = field(default_factory=list)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _answers: dict[int, "asyncio.Future[dict[str, Any]]"] = field(default_factory=dict)
    _loaded: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the protocol's method answers."""
        number = next(self._ids)
        answering = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self.socket.send_json({**message, "sessionId": self.session} if self.session else message)
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await answering
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    async def listen(self) -> None:
        """Hand answers to whoever asked and note what goes wrong, until the socket closes."""
        async for frame in self.socket:
            message = json.loads(frame.data)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            else:
                self._note(message["method"], message["params"])

    def _note(self, event: str, said: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded.set()
        elif event == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(said["exceptionDetails"]))
        elif event == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.problems.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        elif event == "Runtime.consoleAPICalled" and said["type"] in {"error", "warning"}:
            self.problems.append(json.dumps(said["args"]))

    async def open(self, address: str) -> None:
        """Load a page, and wait until it is there."""
        self._loaded.clear()
        await self.call("Page.navigate", url=address)
        await self.has_loaded()

    async def has_loaded(self) -> None:
        """Wait for a page that is on its way."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._loaded.wait()
        self._loaded.clear()

    async def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; a promise's when it is kept."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key and let it go."""
        what = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        if shift:
            what["modifiers"] = SHIFT
        text = {"text": TEXT_OF_KEYS[key]} if key in TEXT_OF_KEYS else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **what, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **what)

    async def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def click(self, selector: str) -> None:
        """Click the middle of the first element that the selector finds."""
        place = await self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const r = e.getBoundingClientRect(); return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    async def show(self, *, width: int = 1200, height: int = 900, scale: float = 1, dark: bool = False) -> None:
        """Be a window of this many CSS pixels, by day or by night, without motion."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )
        features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        await self.call(
            "Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in features.items()]
        )

    async def picture(self, *, whole: bool = False) -> bytes:
        """What is to be seen, or the whole page, as PNG."""
        answer = await self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole, optimizeForSpeed=False
        )
        return base64.b64decode(answer["data"])

    async def printed(self) -> bytes:
        """The page as it is printed on A4, as PDF."""
        answer = await self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False)
        return base64.b64decode(answer["data"])


@asynccontextmanager
async def open_tab(devtools: str) -> AsyncIterator[Tab]:
    """A new tab of the Chromium at this address, without anybody's cookies."""
    async with ClientSession() as session, session.ws_connect(devtools, max_msg_size=LARGEST_MESSAGE) as socket:
        tab = Tab(socket)
        listening = asyncio.create_task(tab.listen())
        try:
            context = (await tab.call("Target.createBrowserContext"))["browserContextId"]
            target = await tab.call("Target.createTarget", url="about:blank", browserContextId=context)
            attached = await tab.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            tab.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                await tab.call(f"{domain}.enable")
            await tab.show()
            yield tab
            tab.session = ""
            await tab.call("Target.disposeBrowserContext", browserContextId=context)
        finally:
            await socket.close()
            await listening
