"""The operator's page, put together from the settings and the doors of a worker."""

from collections.abc import Callable
from functools import partial

from aiohttp import web
from redis.asyncio import Redis

from config.settings import Settings
from jobs.dead_letters import DeadLetters
from jobs.overview import read_standing
from jobs.preview import preview
from jobs.resources import Resources
from worker.doorkeeper import Doorkeeper
from worker.pages import Backstage, add_pages
from worker.picture import Pictures
from worker.sessions import Sessions, Tries
from worker.shared_state import Look


def pages_of(settings: Settings, redis: Redis, resources: Resources, look: Look) -> Callable[[web.Application], None]:
    """The operator's page over these doors, to be added to what is served."""
    prefix = settings.key_prefix
    password = settings.operator_password
    door = Doorkeeper(Sessions(None if password is None else password.get_secret_value()), Tries(redis, prefix))
    backstage = Backstage(
        pictures=Pictures(redis, settings, look),
        letters=DeadLetters(redis, inbox=settings.inbox_stream, prefix=prefix),
        standing=partial(read_standing, redis, prefix),
        preview=partial(preview, resources),
    )
    return partial(add_pages, door=door, backstage=backstage)
