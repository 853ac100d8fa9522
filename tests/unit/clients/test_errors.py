"""The meaning of answers and of Redis' errors, and what an error's text may not contain."""

from typing import Any

import pytest
from redis import exceptions

from autumn_sync_client import (
    AsyncClient,
    Client,
    ClientError,
    InvalidEvents,
    RateLimited,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from autumn_sync_client.events import new_update
from autumn_sync_client.over_http import HttpAnswer, HttpRequests
from autumn_sync_client.over_redis import error_of

ANN = new_update(customer_id="ann", changes={"name": "Ann"}, event_id="e1")
FIELDS = [{"entry": 0, "field": "changes.name", "message": "unknown field"}]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "invalid_events", "fields": FIELDS}, InvalidEvents),
        (400, {"error": "invalid_events", "fields": "none"}, UnexpectedAnswer),
        (400, {"error": "invalid_json"}, UnexpectedAnswer),
        (401, {"error": "unauthorized"}, Unauthorized),
        (403, None, Unauthorized),
        (404, None, UnexpectedAnswer),
        (413, {"error": "too_large"}, UnexpectedAnswer),
        (429, {"error": "rate_limited"}, RateLimited),
        (500, None, Unavailable),
        (502, None, Unavailable),
        (503, {"error": "redis_unavailable"}, Unavailable),
        (301, None, UnexpectedAnswer),
        (200, None, UnexpectedAnswer),
        (202, None, UnexpectedAnswer),
        (202, {"ids": []}, UnexpectedAnswer),
        (202, {"ids": "e1"}, UnexpectedAnswer),
        (202, ["e1"], UnexpectedAnswer),
    ],
)
def test_answer_to_events_means_this_error(status: int, body: Any, kind: type[ClientError]) -> None:
    with pytest.raises(kind) as raised:
        HttpRequests().ids([ANN], HttpAnswer(status, body, 2.0))
    assert type(raised.value) is kind
    assert getattr(raised.value, "retry_after", 2.0) == 2.0


@pytest.mark.parametrize("body", [None, [], {}, {"status": "lost"}, {"status": ["applied"]}])
def test_answer_without_a_status_is_no_outcome(body: Any) -> None:
    with pytest.raises(UnexpectedAnswer):
        HttpRequests().outcome(HttpAnswer(200, body))


def test_missing_path_names_what_to_check() -> None:
    with pytest.raises(UnexpectedAnswer, match="check the URL, and INTAKE_TOKENS"):
        HttpRequests().outcome(HttpAnswer(404))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.AuthenticationError("invalid username-password pair"), Unauthorized),
        (exceptions.NoPermissionError("this user has no permissions to run the 'xadd' command"), Unauthorized),
        (exceptions.ExecAbortError("Transaction discarded because of: NOPERM User app has no"), Unauthorized),
        (exceptions.ResponseError("EXEC without MULTI"), Unauthorized),
        (exceptions.ExecAbortError("Transaction discarded because of previous errors."), Unavailable),
        (exceptions.ConnectionError("Error 111 connecting to localhost:1"), Unavailable),
        (exceptions.TimeoutError("Timeout reading from socket"), Unavailable),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), Unavailable),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), Unavailable),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), Unavailable),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), Unavailable),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), Unavailable),
        (exceptions.ResponseError("Command # 1 (XADD s * name SECRET) of pipeline caused error: OOM x"), Unavailable),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), UnexpectedAnswer),
        (exceptions.ResponseError("unknown command 'XADD'"), UnexpectedAnswer),
    ],
)
def test_error_of_redis_means_this_error(error: exceptions.RedisError, kind: type[ClientError]) -> None:
    found = error_of(error)
    assert type(found) is kind
    assert type(error).__name__ in str(found)
    assert "SECRET" not in str(found)


@pytest.mark.parametrize("token", ["", "a b", "line\n", "tokén", "\x7f", None])
def test_token_that_no_header_can_hold_is_refused_without_repeating_it(token: Any) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="the token is empty, or has") as raised:
            kind.over_http("https://sync.example.com", token)
        assert not token or token not in str(raised.value)


@pytest.mark.parametrize("url", ["", "sync.example.com", "redis://localhost:6379/0", None])
def test_url_of_another_scheme_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match="must begin with https"):
        Client.over_http(url, "token")


@pytest.mark.parametrize(
    "url",
    [
        "https://app:a-secret@sync.example.com",
        "https://a-secret@h",
        "http://h:a-secret",
        "http://h:99999",
        "http://",
        "http://h/?x=1",
        "http://h#x",
    ],
)
def test_url_that_cannot_work_is_refused_and_not_shown(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="the URL") as raised:
            kind.over_http(url, "token")
        assert "a-secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["redis://:a-se/cret@h:6379", "redis://:a-se#cret@h:6379/0", "a-secret", "redis://h:99999"]
)
def test_url_of_redis_that_cannot_work_is_refused_and_not_shown(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="the URL of Redis is not valid") as raised:
            kind.over_redis(url)
        assert "a-se" not in str(raised.value)
        assert raised.value.__context__ is None


@pytest.mark.parametrize("event_id", ["x" * 70_000, "\ud800", "", 7])
def test_id_that_no_event_can_have_is_refused(event_id: Any) -> None:
    with pytest.raises(UnexpectedAnswer, match="the id of an event"):
        HttpRequests().to_read(event_id, 0)


def test_no_client_shows_its_secret() -> None:
    with (
        Client.over_http("https://sync.example.com", "a-secret") as http,
        Client.over_redis("redis://app:a-secret@localhost:1/0") as redis,
    ):
        for client in (http, redis):
            connection = client._connection
            assert "a-secret" not in repr([client, connection, vars(client), vars(connection)])
