"""Distributions of this repository, built as a release is, and environments that have only what they require."""

import asyncio
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.processes import ROOT, environment_with

LEFT_OUT = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "node_modules")


def built(source: Path, folder: Path) -> Path:
    """Build the wheel of a copy of a source tree in `folder`, without a network. Return its path.

    A build writes into its tree, so a copy keeps this one clean. It shows that the tree is complete, too.
    """
    copy = shutil.copytree(source, folder / "source", symlinks=True, ignore=LEFT_OUT)
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index")
    _run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(copy))
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    async def run(self, *arguments: str, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
        """Run its interpreter in a folder. Return the exit code and both outputs."""
        process = await asyncio.create_subprocess_exec(
            self.python,
            *arguments,
            cwd=folder,
            env=environment_with(environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()


def installed(wheel: Path, extras: Iterable[str], folder: Path) -> Environment:
    """Install a wheel with extras into a new virtual environment, without a network.

    The required packages are links to those of the tests' own environment, found by the requirements of each. So no
    index and no cache is needed, and a package that the wheel does not require is missing. To add the folder of all
    packages to the path would hide that.
    """
    _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    environment = Environment(folder)
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    _run(sys.executable, "-m", "pip", "--python", str(environment.python), "install", *options, str(wheel))
    (packages,) = folder.glob("lib/python*/site-packages")
    (metadata,) = packages.glob("*.dist-info")
    for requirement in _required(importlib.metadata.Distribution.at(metadata), extras):
        _link(importlib.metadata.distribution(requirement), packages)
    return environment


def _required(distribution: importlib.metadata.Distribution, extras: Iterable[str]) -> set[str]:
    """Return the names of all packages that a distribution requires here, directly or not."""
    found: set[str] = set()
    waiting = [(distribution, frozenset(extras))]
    while waiting:
        each, its_extras = waiting.pop()
        for text in each.requires or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in {"", *its_extras}):
                continue
            if requirement.name not in found:
                found.add(requirement.name)
                waiting.append((importlib.metadata.distribution(requirement.name), frozenset(requirement.extras)))
    return found


def _link(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    for name in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
        if not (packages / name).exists():
            (packages / name).symlink_to(Path(str(distribution.locate_file(name))))


def _run(*command: str) -> None:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
