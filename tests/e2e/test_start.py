"""How a process starts with settings that are almost right, and how it ends with settings that are wrong."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence

import pytest

from sandbox.everything import Sandbox, sandbox
from tests.e2e.processes import ROOT, command_of, environment_with, worker

CLI = [sys.executable, "-m", "worker"]
ALL_THAT_READ_KEYS = [
    command_of("worker"),
    command_of("scanner"),
    [*CLI, "scan"],
    [*CLI, "status", "ann", "--live"],
    [*CLI, "status"],
]


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        everything.autumn.seed("ann")
        yield everything


async def ended(box: Sandbox, words: Sequence[str], **environment: str) -> tuple[int | None, str]:
    """The exit code and all the output of a process that ends by itself."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=ROOT,
        env=environment_with(box.environment | environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode()


async def test_settings_from_files_that_end_in_a_newline_work_everywhere(box: Sandbox) -> None:
    from_files = {name: f"{value}\n" for name, value in box.environment.items()}
    from_files |= {"OPERATOR_PASSWORD": "correct horse battery\n", "PORT": "", "RECEIPTS": ""}
    async with worker(from_files):
        code, output = await ended(box, [*CLI, "send", "ann", '{"name": "Ann"}', "--wait", "20"], **from_files)
        assert (code, "status: applied" in output) == (0, True)
    for words in (["doctor"], ["scan"], ["status", "ann", "--live"]):
        assert (await ended(box, [*CLI, *words], **from_files))[0] == 0, words


@pytest.mark.parametrize("words", ALL_THAT_READ_KEYS, ids=lambda words: " ".join(words[-2:]))
async def test_a_key_with_an_ellipsis_in_it_is_named_and_not_shown(box: Sandbox, words: Sequence[str]) -> None:
    code, output = await ended(box, words, STRIPE_API_KEY="sk_test_cut\N{HORIZONTAL ELLIPSIS}short")
    assert code == 78
    assert "STRIPE_API_KEY: has white space or a character that is not ASCII in it" in output
    assert not any(word in output for word in ("cut\N{HORIZONTAL ELLIPSIS}", "short", "Traceback"))


async def test_the_doctor_names_a_key_that_cannot_be_one(box: Sandbox) -> None:
    code, output = await ended(box, [*CLI, "doctor"], AUTUMN_SECRET_KEY="am_sk_test_in two lines")
    assert code == 1
    assert output.startswith("wrong    settings           AUTUMN_SECRET_KEY: has white space")
    assert "two lines" not in output
