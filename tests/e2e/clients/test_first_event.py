"""The section "The first event" of docs/events.md: its commands, from an empty folder to the outcome."""

import asyncio
import os
import re
import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from sandbox.everything import Sandbox, sandbox
from tests.support.distributions import built, installed
from tests.support.node import missing_for_node, pack
from tests.support.processes import ROOT, environment_with, free_port
from tests.tools import REDIS_CLI, NoToolError

PAGE: Final = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
PORT: Final = "8080"
PYTHON_INSTALLS: Final = re.compile(
    r"python3 -m venv \.venv\n\.venv/bin/pip install --quiet \"\$CHECKOUT/(.+)\[(.+)\]\"\n"
)
NODE_INSTALLS: Final = re.compile(r"\(cd \"\$CHECKOUT/(.+)\" && npm ci --silent && npm pack --silent .*\)\n")
WAIT: Final = re.compile(r"(wait_seconds=|waitSeconds: )\d+")
"""The seconds for which a client waits."""


def block_of(heading: str) -> str:
    """Return the commands of a section that has one block of them."""
    (block,) = blocks_of(heading)
    return block


def blocks_of(heading: str) -> list[str]:
    """Return each block of commands of a section."""
    (section,) = re.findall(rf"^##+ {heading}\n(.*?)^##", PAGE, re.DOTALL | re.MULTILINE)
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        yield everything


async def run(commands: str, box: Sandbox, folder: Path) -> str:
    """Start a worker as the section says, run commands in an empty folder below `folder`, and return their output."""
    start = (
        block_of("The first event").replace(PORT, str(free_port())).replace("worker.log", str(folder / "worker.log"))
    )
    start = start.replace(".venv/bin/arq", "arq")
    # The machine may be busy.
    commands = WAIT.sub(r"\g<1>120", commands)
    script = f"{start}trap 'kill %1; wait' EXIT\nset -e\n{commands}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        cwd=ROOT,
        env=environment_with({**box.environment, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    except BaseException:
        # A time-out of the test must leave no worker and no endless loop.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, output.decode()
    assert box.autumn.customers["user_42"]["email"] == "ann@example.com"
    return output.decode()


def repeated(commands: str) -> str:
    """Return commands whose last one is repeated until the event is settled.

    One request waits for 30 s at most, and a busy machine may need longer.
    """
    sends, reads = commands.rstrip().rsplit("\n", 1)
    return f"{sends}\nuntil {reads} | grep -E 'applied|dead'; do sleep 1; done"


async def test_curl_sends_an_event_and_reads_its_outcome(box: Sandbox, tmp_path: Path) -> None:
    output = await run(repeated(block_of("With curl")), box, tmp_path)
    assert '{"ids": ["first-curl"]}' in output
    assert '{"id": "first-curl", "status": "applied", "customer_id": "user_42"' in output


async def test_redis_cli_sends_an_event_and_reads_its_outcome(box: Sandbox, tmp_path: Path) -> None:
    try:
        redis_cli = shlex.quote(REDIS_CLI.find())
    except NoToolError as error:
        pytest.skip(str(error))
    sends, waits, reads = block_of("With redis-cli").replace("redis-cli ", f"{redis_cli} ").splitlines()
    assert waits == "sleep 1"
    # The machine may be busy.
    output = await run(f"{sends}\nuntil {reads} | grep -E 'applied|dead'; do {waits}; done", box, tmp_path)
    assert '"status":"applied"' in output


async def test_python_client_sends_an_event_and_reads_its_outcome(box: Sandbox, tmp_path: Path) -> None:
    commands = block_of("With the Python client")
    ((source, extra),) = PYTHON_INSTALLS.findall(commands)
    wheel = built(ROOT / source, tmp_path)
    environment = installed(wheel, [extra], tmp_path / "environment")
    # A test has no network, so it installs the same package with what it requires.
    commands = PYTHON_INSTALLS.sub(f"ln -s {environment.folder} .venv\n", commands)
    output = await run(f"unset PYTHONPATH\n{commands}", box, tmp_path)
    assert "Outcome(status='applied', customer_id='user_42'" in output


async def test_typescript_client_sends_an_event_and_reads_its_outcome(box: Sandbox, tmp_path: Path) -> None:
    if reason := missing_for_node():
        pytest.skip(reason)
    commands = block_of("With the TypeScript client")
    assert NODE_INSTALLS.findall(commands) == ["clients/typescript"]
    tarball = pack(tmp_path)
    # The packages of the build are those that the tests installed, because a test has no network.
    commands = NODE_INSTALLS.sub(f"cp {shlex.quote(str(tarball))} .\n", commands)
    output = await run(f"export npm_config_offline=true npm_config_cache={tmp_path}/cache\n{commands}", box, tmp_path)
    assert "status: 'applied'" in output


async def test_billing_details_reach_stripe_at_the_version_of_the_section(box: Sandbox, tmp_path: Path) -> None:
    starts, sends = blocks_of("With billing details")
    (version,) = re.findall(r"make sandbox SANDBOX_OPTIONS=\"--autumn-newest-version (.+)\"", starts)
    box.autumn.newest_version = version
    box.environment["AUTUMN_API_VERSION"] = f"{version}.0"
    output = await run(repeated(sends), box, tmp_path)
    assert '{"id": "first-address", "status": "applied", "customer_id": "user_42"' in output
    (customer,) = box.stripe.customers.values()
    assert customer["address"]["city"] == "Berlin"
