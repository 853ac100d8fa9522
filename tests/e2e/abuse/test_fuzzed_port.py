"""A worker keeps working and answers probes while its port gets fuzzed requests."""

import asyncio
import os
import re
import secrets
import time
from collections import Counter
from random import Random

import pytest

from tests.support.busy import busy_worker
from tests.support.fuzz import Parts, odd_request
from tests.support.raw import exchange, port_of

FUZZ_SECONDS = float(os.environ.get("FUZZ_SECONDS", "6"))
"""6 s are enough for some hundred requests, dozens of each kind. .ci/run sends more."""
LONGEST_SECONDS = FUZZ_SECONDS + 60.0
"""A slow machine continues until it has seen each of these statuses."""
STATUSES = {b"200", b"400", b"403", b"404", b"405", b"415"}
AT_A_TIME = 24
PATIENCE_SECONDS = 0.25
LATE_PATIENCE_SECONDS = 2.0
"""The patience after FUZZ_SECONDS, for a machine so slow that a status is still missing."""
ANSWERS_OF_A_SERVER_IN_TROUBLE = {b"503", b"505"}
"""503 comes from /readyz, or from a page if Redis is slow."""
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@pytest.fixture
def seed() -> int:
    """Return and print FUZZ_SEED or a random seed. Pytest shows the output if the test fails."""
    chosen = int(os.environ.get("FUZZ_SEED") or secrets.randbits(32))
    print(f"FUZZ_SEED={chosen}")
    return chosen


async def test_no_odd_request_harms_the_worker(seed: int) -> None:
    random, statuses = Random(seed), Counter[bytes]()
    settings = {"OPERATOR_PASSWORD": "a long password", "INTAKE_TOKENS": "shop:0123456789abcdef0123"}
    async with busy_worker(settings, latency_seconds=FUZZ_SECONDS / 4) as one:
        port, begin = port_of(one.url), time.monotonic()
        while (seconds := time.monotonic() - begin) < FUZZ_SECONDS or not statuses.keys() >= STATUSES:
            assert seconds < LONGEST_SECONDS, f"FUZZ_SEED={seed}: {statuses}"
            sent = [odd_request(random) for _ in range(AT_A_TIME)]
            patience = PATIENCE_SECONDS if seconds < FUZZ_SECONDS else LATE_PATIENCE_SECONDS
            closes = [random.random() < 0.1 for _ in sent]
            answers = await asyncio.gather(
                *(
                    exchange(port, *parts, half_close=close, seconds=patience)
                    for parts, close in zip(sent, closes, strict=True)
                )
            )
            for parts, answer in zip(sent, answers, strict=True):
                found = STATUS.findall(answer)
                statuses.update(found)
                bad = {each for each in found if each >= b"500"} - ANSWERS_OF_A_SERVER_IN_TROUBLE
                assert not bad, f"FUZZ_SEED={seed}: {bad} for {_shown(parts)!r}"
            assert (await one.answer("/healthz"))[0] == 200, (
                f"FUZZ_SEED={seed}: after {[_shown(parts) for parts in sent]}"
            )


def _shown(parts: Parts) -> bytes:
    return b"|".join(parts)[:300]
