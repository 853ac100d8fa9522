"""A library's exception is logged with the types and frames of its whole chain, never with a message."""

import json
import subprocess
import sys

LOGS_A_CHAIN = """
import logging
from config.logs import configure_logs

# In two parts, because a traceback shows lines of the source.
address = "ann" + "@example.com"

configure_logs("json", "INFO")

def fail():
    try:
        raise KeyError(address)
    except KeyError as error:
        raise LookupError(address) from error

try:
    try:
        fail()
    except LookupError as error:
        raise ExceptionGroup(address, [error])
except ExceptionGroup as group:
    logging.getLogger("arq").exception("job failed: %s", group)
"""


def test_exception_is_logged_with_causes_and_without_messages() -> None:
    ended = subprocess.run([sys.executable, "-c", LOGS_A_CHAIN], capture_output=True, text=True, check=True)
    rendered = json.loads(ended.stderr)["exception"]
    assert [name for name in ("ExceptionGroup", "LookupError", "KeyError") if name not in rendered] == []
    assert "in fail" in rendered
    assert "ann@example.com" not in ended.stderr
