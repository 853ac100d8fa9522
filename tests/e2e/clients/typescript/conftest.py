"""An app of Node with the packed client, and the sandbox with a server of `POST /v1/events`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from sandbox.everything import Sandbox, sandbox
from tests.support.intake import SHOP, intake
from tests.support.node import NodeApp, missing_for_node, new_app, pack


@dataclass(frozen=True)
class Intake:
    """The running services, and the environment variables of an app that uses them."""

    box: Sandbox
    variables: dict[str, str]


@pytest.fixture(scope="session")
def node_app(tmp_path_factory: pytest.TempPathFactory) -> NodeApp:
    """Build, pack and install the client once. Skip if Node or a package of the build is missing."""
    if reason := missing_for_node():
        pytest.skip(reason)
    tarball = pack(tmp_path_factory.mktemp("pack"))
    return new_app(tmp_path_factory.mktemp("app"), tarball)


@pytest.fixture
async def services() -> AsyncIterator[Intake]:
    """Run the sandbox and the server. Request `node_app` before it, so that a skipped test starts nothing."""
    async with sandbox() as box, intake(box.environment["REDIS_URL"]) as url:
        variables = {"SYNC_URL": url, "SYNC_TOKEN": SHOP, "REDIS_URL": box.environment["REDIS_URL"]}
        yield Intake(box, variables)
