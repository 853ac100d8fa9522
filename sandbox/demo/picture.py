"""`python -m sandbox.demo.picture`: the demo once more, with what it shows written to docs/run.svg.

A terminal shows many moments, one in the place of the other; the picture has one of them, from the middle.
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

PICTURE: Final = ROOT / "docs" / "run.svg"
WIDTH: Final = 96
FONTS: Final = 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace'


class _OneMoment(View):
    """Draws the moment from the middle when all moments are over."""

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
    """Run the demo and write the picture; the exit code of the demo."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print("$ make run", highlight=False)
    with tempfile.TemporaryDirectory(prefix="sandbox-demo-") as folder:
        code = asyncio.run(run_demo(console, _OneMoment(console), Path(folder), make_deployments(SEED)))
    if code == 0:
        PICTURE.write_text(_without_web_fonts(console.export_svg(title="make run")), encoding="utf-8")
    return code


def _without_web_fonts(svg: str) -> str:
    """The picture with fonts that a reader has, so that it loads nothing."""
    return re.sub(r" *@font-face \{.*?\}\n", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", FONTS)


if __name__ == "__main__":
    sys.exit(main())
