"""Chromium without a window: where it is, how it gets there, and a process of it to talk to.

`python -m tests.browser.chromium` is what `make test` says first: it installs Chromium where that is possible without
asking, and tells what to do where it is not. A test that finds none fails with the same words.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
WHAT_TO_DO = (
    "No Chromium was found, and the pages' tests need one. Install it (Debian and Ubuntu: apt-get install chromium; "
    "macOS: brew install --cask google-chrome), or name the program in the variable CHROMIUM."
)
SWITCHES = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
)
ANNOUNCED = "DevTools listening on "


class NoChromiumError(Exception):
    """There is no Chromium here; the text says what to do."""


def find_chromium() -> str:
    """The program. Raises NoChromiumError."""
    named = os.environ.get("CHROMIUM")
    for name in [named] if named else [*NAMES, MAC]:
        found = shutil.which(name)
        if found is not None:
            return found
    raise NoChromiumError(WHAT_TO_DO)


def install_where_possible() -> None:
    """Install Chromium from Debian's packages, as root and without one; else change nothing."""
    try:
        find_chromium()
    except NoChromiumError:
        if os.geteuid() == 0 and shutil.which("apt-get"):
            for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
                subprocess.run(["apt-get", "--quiet", "--quiet", *arguments], check=False)  # noqa: S607


@contextmanager
def running_chromium() -> Iterator[str]:
    """A Chromium with a profile of its own; the address of its DevTools. Raises NoChromiumError."""
    program = find_chromium()
    # Chromium's sandbox refuses to run as root; what is opened in it here are our own pages.
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *SWITCHES, *as_root, f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stderr is not None
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if line.startswith(ANNOUNCED):
                    yield line.removeprefix(ANNOUNCED).strip()
                    return
            raise AssertionError(f"Chromium ended before it could be used: {''.join(said)}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stderr.close()


def main() -> None:
    """Make sure of Chromium, or say what to do."""
    install_where_possible()
    try:
        find_chromium()
    except NoChromiumError as error:
        sys.stderr.write(f"{error}\n")


if __name__ == "__main__":
    main()
