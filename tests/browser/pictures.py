"""The README's pictures of the pages: `make pictures`.

They are taken of made-up customers. Where optipng is at hand it makes them smaller.
"""

import asyncio
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser.chromium import running_chromium
from tests.browser.reports import finding, report_of
from tests.browser.tab import open_tab
from worker.scan_page import write_page

DOCS = Path(__file__).parents[2] / "docs"


async def take_scan_report(devtools: str) -> None:
    """`docs/scan-report.png`."""
    with TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_page(report_of([finding(number) for number in range(24)]), page)
        async with open_tab(devtools) as tab:
            await tab.show(width=1180, height=1240, scale=1.5)
            await tab.open(page.as_uri())
            await tab.click("#findings-search")
            await tab.type("drift")
            await tab.evaluate("scrollTo(0, 0)")
            _save("scan-report.png", await tab.picture())


def _save(name: str, picture: bytes) -> None:
    path = DOCS / name
    path.write_bytes(picture)
    if shutil.which("optipng"):
        subprocess.run(["optipng", "-quiet", "-o2", str(path)], check=True)  # noqa: S607
    print(f"docs/{name}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Take all of them."""
    with running_chromium() as devtools:
        asyncio.run(take_scan_report(devtools))


if __name__ == "__main__":
    main()
