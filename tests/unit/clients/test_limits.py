"""The limits that the clients keep are those of the worker."""

import re
from typing import Final

from autumn_sync_client.over_http import TIMEOUT_SECONDS, WAIT_MAX_SECONDS
from autumn_sync_client.steps import BYTES_MAX, EVENTS_MAX
from tests.tools import TYPESCRIPT_CLIENT
from worker.web.api.bodies import EVENTS_AT_MOST
from worker.web.api.events import BODY_BYTES, REDIS_SECONDS, WAIT_AT_MOST

TYPESCRIPT: Final = {
    name: float(number.replace("_", ""))
    for path in sorted((TYPESCRIPT_CLIENT / "src").glob("*.ts"))
    for name, number in re.findall(r"^const ([A-Z_]+) = ([\d_]+);$", path.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_request_of_the_python_client_fits_the_worker() -> None:
    assert (EVENTS_MAX, BYTES_MAX) == (EVENTS_AT_MOST, BODY_BYTES)


def test_wait_of_each_client_is_the_longest_of_the_worker() -> None:
    assert WAIT_MAX_SECONDS == TYPESCRIPT["LONGEST_WAIT_SECONDS"] == WAIT_AT_MOST


def test_typescript_client_adds_as_many_events_to_redis_as_the_worker_takes() -> None:
    assert TYPESCRIPT["MOST_EVENTS"] == EVENTS_AT_MOST


def test_typescript_client_sends_no_body_that_the_worker_refuses() -> None:
    assert TYPESCRIPT["MOST_BYTES"] == BODY_BYTES


def test_client_waits_longer_than_the_worker_waits_for_redis() -> None:
    assert TIMEOUT_SECONDS > REDIS_SECONDS
