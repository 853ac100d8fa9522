"""SIGTERM to the image's process as process 1, which is how a container runs it, right after its start."""

import json
import os
import shutil
import signal
import subprocess
import time
from typing import Final

import psutil
import pytest

from tests.support.deployments import arguments_of, instructions
from tests.support.processes import environment_with
from tests.tools import DUMB_INIT, NoToolError

LAST: Final = instructions()[-1]
IN_A_NAMESPACE: Final = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
STARTS_SECONDS, ENDS_SECONDS = 60, 15
ENVIRONMENT: Final = {
    "REDIS_URL": "redis://127.0.0.1:1",
    "AUTUMN_SECRET_KEY": "am_sk_test_x",
    "STRIPE_API_KEY": "sk_test_x",
}
"""Without a Redis, a process that does not get SIGTERM waits for two minutes."""


def command_of_the_image() -> list[str]:
    """Return the words that a container runs. Skips the test if a program is missing."""
    entry = [word for line in arguments_of("ENTRYPOINT", LAST) for word in json.loads(line)]
    (command,) = arguments_of("CMD", LAST)
    try:
        return [*(DUMB_INIT.find() if word == "dumb-init" else word for word in entry), *json.loads(command)]
    except NoToolError as error:
        pytest.skip(str(error))


def first_process(process_id: int) -> psutil.Process:
    """Wait until arq's Python has started in the namespace, and return the process 1 of the namespace."""
    give_up_at = time.monotonic() + STARTS_SECONDS
    while time.monotonic() < give_up_at:
        for first in psutil.Process(process_id).children():
            started = [each.cmdline() for each in (first, *first.children())]
            if any(len(words) > 1 and words[1].endswith("/arq") for words in started):
                return first
        time.sleep(0.005)
    raise TimeoutError("arq did not start")


def test_sigterm_ends_process_one_right_after_its_start() -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is missing: it is a part of util-linux, for Linux only")
    tried = subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"unshare may not make a namespace here: {tried.stderr.strip()}")
    command = [*IN_A_NAMESPACE, *command_of_the_image()]
    with subprocess.Popen(command, env=environment_with(ENVIRONMENT), stderr=subprocess.DEVNULL) as process:
        try:
            first_process(process.pid).send_signal(signal.SIGTERM)
            code = process.wait(ENDS_SECONDS)
        finally:
            process.kill()
    # The first code is that of a process that SIGTERM ended before it could handle it.
    assert code in {128 + signal.SIGTERM, os.EX_OK}
