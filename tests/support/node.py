"""Node, and the package of clients/typescript as an app installs it."""

import asyncio
import json
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.tools import TYPESCRIPT, NoToolError

PACKAGE: Final = Path(__file__).parents[2] / "clients" / "typescript"
NAME: Final = "autumn-stripe-sync-client"
OLDEST_NODE: Final = 20


@cache
def missing_for_node() -> str:
    """Return what is missing for the tests of the package, and how to install it; "" if nothing is."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "Node or npm is missing, and the tests of the TypeScript client are skipped without them"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        return f"Node is {version}, but the TypeScript client needs Node {OLDEST_NODE} or later"
    try:
        TYPESCRIPT.find()
    except NoToolError as error:
        return str(error)
    return ""


def pack(folder: Path) -> Path:
    """Build and pack a copy of the package in `folder`, offline. Return the tarball."""
    source = folder / "source"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (source / "node_modules").symlink_to(PACKAGE / "node_modules")
    npm("pack", "--pack-destination", str(folder), folder=source)
    (tarball,) = folder.glob("*.tgz")
    return tarball


def npm(*arguments: str, folder: Path) -> None:
    """Run npm in a folder, offline and with an empty cache."""
    settings = {"offline": "true", "cache": str(folder / ".cache"), "audit": "false", "fund": "false"}
    environment = {**os.environ, **{f"npm_config_{name}": value for name, value in settings.items()}}
    ended = subprocess.run(
        ["npm", *arguments],  # noqa: S607
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@dataclass(frozen=True)
class NodeApp:
    """An app in a folder of its own, with the package installed."""

    folder: Path

    @property
    def dist(self) -> Path:
        """The built files of the installed package."""
        return self.folder / "node_modules" / NAME / "dist"

    def link(self, package: str, name: str = "") -> None:
        """Make a package that the tests installed importable, with another name if one is given."""
        target = self.folder / "node_modules" / (name or package)
        target.unlink(missing_ok=True)
        target.symlink_to(PACKAGE / "node_modules" / package)

    async def output_of(self, script: str, *options: str, **variables: str) -> str:
        """Run a module, and return its output. `variables` are added to its environment."""
        process = await asyncio.create_subprocess_exec(
            *("node", *options, "--input-type=module", "--eval", script),
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], **variables},
            stdout=PIPE,
            stderr=PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return output.decode()

    async def result_of(self, script: str, *options: str, **variables: str) -> Any:
        """Run a module that prints JSON, and return what it printed."""
        return json.loads(await self.output_of(script, *options, **variables))


def new_app(folder: Path, tarball: Path) -> NodeApp:
    """Install the packed package into an empty folder, offline."""
    (folder / "package.json").write_text('{"private": true, "type": "module"}', encoding="utf-8")
    npm("install", str(tarball), folder=folder)
    return NodeApp(folder)


def type_errors(folder: Path, source: str, **options: Any) -> str:
    """Compile a module in `folder` with strict types. Return the compiler's errors."""
    settings: Mapping[str, Any] = {
        **{"noEmit": True, "strict": True, "exactOptionalPropertyTypes": True, "module": "NodeNext", "types": []},
        **options,
    }
    (folder / "app.ts").write_text(source, encoding="utf-8")
    project = folder / "tsconfig.json"
    project.write_text(json.dumps({"compilerOptions": settings, "files": ["app.ts"]}), encoding="utf-8")
    ended = subprocess.run([TYPESCRIPT.find(), "--project", str(project)], capture_output=True, text=True, check=False)
    return ended.stdout
