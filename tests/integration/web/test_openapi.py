"""The OpenAPI document: it has the routes that exist, and requests that are made from it meet what it says."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from queue import Queue
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import SecretStr
from redis.asyncio import Redis

from jobs.inbox import Inbox
from jobs.schema import event_schema
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX
from tests.support.intake import SHOP, TOKENS, bearer, intake_port
from worker.web.api.bodies import EVENTS_AT_MOST
from worker.web.api.events import PATH, WAIT_AT_MOST, Intake, Tokens, add_intake
from worker.web.api.openapi import REF, REFUSALS, openapi_document
from worker.web.server import BODY_LIMITS

DOCUMENT = openapi_document()
NOT_ABOUT_CONTENT = {408, 411, 500}
"""The refusals that do not judge what a request says."""


def routes_of_the_intake(redis: Redis) -> set[tuple[str, str]]:
    app = web.Application()
    app[BODY_LIMITS] = {}
    inbox = Inbox(redis, inbox=INBOX, prefix=PREFIX)
    add_intake(app, Intake(Tokens([SecretStr(token) for token in TOKENS]), inbox, asyncio.Event()))
    found = {(route.resource.canonical, route.method) for route in app.router.routes() if route.resource is not None}
    return {(path, method.lower()) for path, method in found if method != "HEAD"}


async def test_document_has_exactly_the_routes(redis: Redis) -> None:
    documented = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert documented == routes_of_the_intake(redis)


async def test_document_is_served_without_a_token(redis: Redis) -> None:
    async with intake_port(redis) as port:
        answer = await port.get("/v1/openapi.json", token=None)
    assert (answer.status, answer.body) == (200, DOCUMENT)


def test_document_has_the_model_and_the_limits() -> None:
    schemas, model = DOCUMENT["components"]["schemas"], event_schema(REF + "{model}")
    assert schemas["Event"]["properties"].keys() == model["properties"].keys()
    assert schemas["Event"]["required"] == model["required"]
    assert schemas["Changes"] == model["$defs"]["Changes"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    events = DOCUMENT["paths"][PATH]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert events["anyOf"][1]["maxItems"] == EVENTS_AT_MOST
    (_, wait) = DOCUMENT["paths"][PATH + "/{id}"]["get"]["parameters"]
    assert wait["schema"]["maximum"] == WAIT_AT_MOST


@contextmanager
def port_in_a_thread(redis_url: str) -> Iterator[str]:
    """Serve the routes in a thread, because the client of schemathesis blocks."""
    addresses: Queue[str] = Queue()
    ended = threading.Event()

    async def serve() -> None:
        async with Redis.from_url(redis_url) as redis, intake_port(redis, events_per_second=1_000_000) as port:
            addresses.put(port.url)
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield addresses.get(timeout=30)
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def served(redis_server: EmbeddedRedis) -> Iterator[str]:
    with port_in_a_thread(redis_server.url) as url:
        yield url


@cache
def requests_of_the_document() -> tuple[st.SearchStrategy[Any], Any]:
    """Return requests that the document allows and forbids, and the check to leave out.

    Importing schemathesis takes seconds, so only the process that runs this test does it.
    """
    import schemathesis  # noqa: PLC0415 - see above
    from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: PLC0415 - see above

    # A random body may have more than 1 MiB, and by default schemathesis does not accept 413 for a forbidden one.
    accepted = [str(status) for status in REFUSALS.keys() - NOT_ABOUT_CONTENT]
    checks = {"negative_data_rejection": {"expected-statuses": accepted}}
    config = schemathesis.Config.from_dict({"checks": checks})
    schema = schemathesis.openapi.from_dict(deepcopy(DOCUMENT), config=config)
    operations = [schema[path][method] for path, methods in DOCUMENT["paths"].items() for method in methods]
    modes = schemathesis.GenerationMode
    cases = [operation.as_strategy(generation_mode=mode) for operation in operations for mode in modes]
    return st.one_of(cases), positive_data_acceptance


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_requests_made_from_the_document_meet_it(served: str, data: st.DataObject) -> None:
    cases, not_checked = requests_of_the_document()
    # The model is stricter than its schema, for example about addresses.
    data.draw(cases).call_and_validate(base_url=served, headers=bearer(SHOP), excluded_checks=[not_checked])
