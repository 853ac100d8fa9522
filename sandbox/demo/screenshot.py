"""`python -m sandbox.demo.screenshot`: run the demo and write its output to docs/run.svg.

A terminal redraws the live view many times. The screenshot has one moment, from the middle of the run.
"""

import asyncio
import io
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from sandbox.demo.app import SEED, run_demo
from sandbox.demo.deployments import make_deployments
from sandbox.demo.view import Moment, View, draw
from sandbox.demo.worker import ROOT

SCREENSHOT: Final = ROOT / "docs" / "run.svg"
WIDTH: Final = 96
FONTS: Final = 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace'


class _OneMoment(View):
    """Draws one moment, from the middle of the run, at the end."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._moments: list[Moment] = []

    def shown(self) -> AbstractContextManager[object]:
        return self._drawn_at_the_end()

    @contextmanager
    def _drawn_at_the_end(self) -> Iterator[None]:
        yield
        self._console.print(draw(self._moments[len(self._moments) // 2]))

    def show(self, moment: Moment) -> None:
        self._moments.append(moment)


def main() -> int:
    """Run the demo, write the screenshot and return the exit code of the demo."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print("$ make run", highlight=False)
    with tempfile.TemporaryDirectory(prefix="sandbox-demo-") as folder:
        code = asyncio.run(run_demo(console, _OneMoment(console), Path(folder), make_deployments(SEED)))
    if code == 0:
        SCREENSHOT.write_text(_without_web_fonts(console.export_svg(title="make run")), encoding="utf-8")
    return code


def _without_web_fonts(svg: str) -> str:
    """Return the screenshot with fonts of the reader's system, so that it loads none."""
    return re.sub(r" *@font-face \{.*?\}\n", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", FONTS)


if __name__ == "__main__":
    sys.exit(main())
