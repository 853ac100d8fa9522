"""The operator's page, put together from the settings and the doors of a worker."""

import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from aiohttp import web
from redis.asyncio import Redis

from config.settings import Settings
from jobs.dead_letters import DeadLetters
from jobs.overview import read_standing
from jobs.preview import preview
from jobs.resources import Resources
from worker.credentials import Credentials, Tries
from worker.doorkeeper import Doorkeeper
from worker.pages import Backstage, add_pages
from worker.picture import Pictures
from worker.shared_state import Look

log = structlog.get_logger(__name__)
SET_PASSWORD: Final = "set OPERATOR_PASSWORD to sign in with a password, and to act on the page"  # noqa: S105 - not one


def pages_of(settings: Settings, redis: Redis, resources: Resources, look: Look) -> Callable[[web.Application], None]:
    """Return what adds the operator's page, over these doors, to what is served.

    Without a password the address that opens the page is logged. Its token is valid for this process alone, because a
    log is kept for longer than a process runs. The session that it begins is valid on all workers.
    """
    prefix = settings.key_prefix
    password = None if settings.operator_password is None else settings.operator_password.get_secret_value()
    token = secrets.token_urlsafe(32)
    if password is None:
        # At LOG_LEVEL=ERROR, too: without this line nobody could open the page.
        logging.getLogger(__name__).setLevel(logging.WARNING)
        log.warning("page_token_issued", url=f"http://localhost:{settings.port}/?token={token}", fix=SET_PASSWORD)
    door = Doorkeeper(Credentials(redis, prefix, password=password, token=token), Tries(redis, prefix))
    backstage = Backstage(
        pictures=Pictures(redis, settings, look),
        letters=DeadLetters(redis, inbox=settings.inbox_stream, prefix=prefix),
        standing=partial(read_standing, redis, prefix),
        preview=partial(preview, resources),
    )
    return partial(add_pages, door=door, backstage=backstage)
