"""The programs that tests need and no Python package provides.

Chromium is for the pages, promtool for alerts and dashboard, systemd-analyze for the units of deploy/systemd, dumb-init
for the image's process 1, redis-cli for a sample of the documents, and the packages of clients/typescript for that
client.

`make test` runs `python -m tests.tools` first. It installs missing programs if it can do so without a prompt, and
otherwise says how to install them. A test that misses its program prints the same text.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

TYPESCRIPT_CLIENT: Final = Path(__file__).parents[1] / "clients" / "typescript"
IMAGE_LOCK: Final = Path(__file__).parents[1] / "requirements-image.txt"
BESIDE_PYTHON: Final = Path(sys.executable).parent
"""The folder of the virtual environment's programs. Programs that only the tests use are installed here."""


class NoToolError(Exception):
    """A program is missing. The text names it and says how to install it."""


@dataclass(frozen=True)
class Tool:
    """A program: its possible names, the variable that names another one, and how to install it.

    `install` is tried if the program is missing and its `installer` is available; it may fail. If it `needs_root`, only
    root tries it.
    """

    names: tuple[str, ...]
    variable: str
    what_to_do: str
    install: Callable[[], None]
    needs_root: bool
    installer: str = "apt-get"

    def find(self) -> str:
        """Return the program's path. Raises: NoToolError."""
        named = os.environ.get(self.variable)
        path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{BESIDE_PYTHON}"
        for name in [named] if named else self.names:
            found = shutil.which(name, path=path)
            if found is not None:
                return found
        raise NoToolError(self.what_to_do)


def _install_chromium() -> None:
    _apt_get("install", "--yes", "--no-install-recommends", "chromium")


def _install_systemd() -> None:
    # Without the package systemd-sysv, systemd does not become the machine's init.
    _apt_get("install", "--yes", "--no-install-recommends", "systemd")


def _install_redis_cli() -> None:
    _apt_get("install", "--yes", "--no-install-recommends", "redis-tools")


def _take_promtool() -> None:
    """Extract only promtool from Debian's package, because installing the package would start Prometheus."""
    with TemporaryDirectory() as folder:
        # As root, apt-get downloads as another user, who cannot write to this folder.
        _apt_get("-o", "APT::Sandbox::User=root", "download", "prometheus", folder=folder)
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", package, folder], check=False)  # noqa: S607
        taken = Path(folder, "usr", "bin", "promtool")
        if taken.exists():
            shutil.copy(taken, BESIDE_PYTHON)


def _install_dumb_init() -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", IMAGE_LOCK], check=False, stdin=subprocess.DEVNULL)


def _install_node_packages() -> None:
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=60000"],  # noqa: S607
        check=False,
        cwd=TYPESCRIPT_CLIENT,
        stdin=subprocess.DEVNULL,
    )


def _apt_get(*arguments: str, folder: str | None = None) -> None:
    subprocess.run(
        ["apt-get", "--quiet", "--quiet", *arguments],  # noqa: S607
        check=False,
        cwd=folder,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
    )


CHROMIUM: Final = Tool(
    names=(
        *("chromium", "google-chrome", "google-chrome-stable", "chrome"),
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        # The last, because on Ubuntu it only starts the snap, which may not be installed.
        "chromium-browser",
    ),
    variable="CHROMIUM",
    what_to_do=(
        "Chromium is missing, and the tests of the pages fail without it. Install it (Debian: "
        "apt-get install chromium; Ubuntu: the .deb of Google Chrome from google.com/chrome, because Ubuntu has only a "
        "snap of Chromium, which cannot read the tests' files in /tmp; macOS: brew install --cask google-chrome), or "
        "name the program in CHROMIUM."
    ),
    install=_install_chromium,
    needs_root=True,
)
PROMTOOL: Final = Tool(
    names=("promtool",),
    variable="PROMTOOL",
    what_to_do=(
        "promtool is missing, and the tests of alerts and of the dashboard's queries are skipped without it. "
        "Install it (Debian and Ubuntu: apt-get install prometheus; macOS: brew install prometheus), or name the "
        "program in PROMTOOL."
    ),
    install=_take_promtool,
    needs_root=False,
)
SYSTEMD_ANALYZE: Final = Tool(
    names=("systemd-analyze",),
    variable="SYSTEMD_ANALYZE",
    what_to_do=(
        "systemd-analyze is missing, and the check of systemd's units is skipped without it. Install it (Debian and "
        "Ubuntu: apt-get install systemd; macOS has no systemd), or name the program in SYSTEMD_ANALYZE."
    ),
    install=_install_systemd,
    needs_root=True,
)
TYPESCRIPT: Final = Tool(
    names=(str(TYPESCRIPT_CLIENT / "node_modules" / ".bin" / "tsc"),),
    variable="TSC",
    what_to_do=(
        "The TypeScript compiler is missing, and the tests of the TypeScript client are skipped without it. Install "
        "Node 20 or later with npm, then run npm ci --ignore-scripts in clients/typescript."
    ),
    install=_install_node_packages,
    needs_root=False,
    installer="npm",
)
REDIS_CLI: Final = Tool(
    names=("redis-cli",),
    variable="REDIS_CLI",
    what_to_do=(
        "redis-cli is missing, and the test of the documents' sample for it is skipped without it. Install it (Debian "
        "and Ubuntu: apt-get install redis-tools; macOS: brew install redis), or name the program in REDIS_CLI."
    ),
    install=_install_redis_cli,
    needs_root=True,
)
DUMB_INIT: Final = Tool(
    names=("dumb-init",),
    variable="DUMB_INIT",
    what_to_do=(
        "dumb-init is missing, and the test of the image's process 1 is skipped without it. Install it (Linux: "
        "pip install --require-hashes -r requirements-image.txt; macOS has no process namespaces), or name the program "
        "in DUMB_INIT."
    ),
    install=_install_dumb_init,
    needs_root=False,
    installer="python3",
)
TOOLS: Final = (CHROMIUM, PROMTOOL, SYSTEMD_ANALYZE, REDIS_CLI, DUMB_INIT, TYPESCRIPT)


def missing(tools: Iterable[Tool]) -> dict[Tool, str]:
    """Return the missing tools, each with how to install it."""
    found = {}
    for tool in tools:
        try:
            tool.find()
        except NoToolError as error:
            found[tool] = str(error)
    return found


def main() -> None:
    """Install missing tools if possible, and print those that are still missing."""
    is_root = os.geteuid() == 0
    before = missing(TOOLS)
    wanted = [tool for tool in before if (is_root or not tool.needs_root) and shutil.which(tool.installer)]
    if wanted:
        names = [f"{Path(tool.names[0]).name} with {tool.installer}" for tool in wanted]
        print(f"Installing {' and '.join(names)} …", flush=True)
        if is_root and any(tool.installer == "apt-get" for tool in wanted):
            _apt_get("update")
        for tool in wanted:
            tool.install()
    now_missing = missing(TOOLS)
    for tool in before:
        if tool not in now_missing:
            print(f"Installed {tool.find()}")
    for what_to_do in now_missing.values():
        sys.stderr.write(f"{what_to_do}\n")


if __name__ == "__main__":
    main()
