"""Redis, Stripe, and an Autumn that is connected to this Stripe, started together.

They yield the environment variables of a worker. No worker is started here.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sandbox.autumn.server import AutumnSimulator
from sandbox.control import control_routes, stripe_routes
from sandbox.dashboard import dashboard_routes
from sandbox.redis import EmbeddedRedis, Fsync, embedded_redis
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator


@dataclass(frozen=True)
class Sandbox:
    """The running services, and the environment of a worker that uses them."""

    redis: EmbeddedRedis
    stripe: StripeSimulator
    autumn: AutumnSimulator
    environment: dict[str, str]
    """REDIS_URL, AUTUMN_SECRET_KEY, AUTUMN_API_URL, STRIPE_API_KEY and STRIPE_API_BASE."""


@dataclass(frozen=True)
class Simulators:
    """The running simulators, and the environment of a worker that uses them, without a Redis."""

    stripe: StripeSimulator
    autumn: AutumnSimulator
    environment: dict[str, str]
    """AUTUMN_SECRET_KEY, AUTUMN_API_URL, STRIPE_API_KEY and STRIPE_API_BASE."""


@asynccontextmanager
async def sandbox(
    *,
    stripe: StripeSimulator | None = None,
    autumn: Callable[..., AutumnSimulator] = AutumnSimulator,
    aof: bool = True,
    appendfsync: Fsync = "everysec",
    webhook_delay_seconds: tuple[float, float] | None = (0.0, 0.3),
    autumn_port: int = 0,
    stripe_port: int = 0,
    on_all_interfaces: bool = False,
) -> AsyncIterator[Sandbox]:
    """Run a Redis on a free port of the loopback interface, and both simulators, for the length of the block.

    `aof` and `appendfsync` go to `embedded_redis`, all other arguments to `simulators`.

    Raises: RedisUnavailableError if there is no server or it does not start.
    """
    async with AsyncExitStack() as running:
        redis = running.enter_context(embedded_redis(aof=aof, appendfsync=appendfsync))
        services = await running.enter_async_context(
            simulators(
                stripe=stripe,
                autumn=autumn,
                webhook_delay_seconds=webhook_delay_seconds,
                autumn_port=autumn_port,
                stripe_port=stripe_port,
                on_all_interfaces=on_all_interfaces,
            )
        )
        environment = {"REDIS_URL": redis.url, **services.environment}
        yield Sandbox(redis=redis, stripe=services.stripe, autumn=services.autumn, environment=environment)


@asynccontextmanager
async def simulators(
    *,
    stripe: StripeSimulator | None = None,
    autumn: Callable[..., AutumnSimulator] = AutumnSimulator,
    webhook_delay_seconds: tuple[float, float] | None = (0.0, 0.3),
    autumn_port: int = 0,
    stripe_port: int = 0,
    on_all_interfaces: bool = False,
) -> AsyncIterator[Simulators]:
    """Run Stripe, and Autumn connected to it, for the length of the block. Port 0 takes a free one.

    A given `stripe` keeps its limits and mode. `autumn` is called with `stripe_url` and `stripe_key`; for example,
    `partial(AutumnSimulator, updates_per_second=None)` has no limits. `webhook_delay_seconds` is the least and the most
    delay of Stripe's webhooks to Autumn; None holds them (see `Webhooks`). The simulators listen on the loopback
    interface, or `on_all_interfaces`.
    """
    stripe = StripeSimulator() if stripe is None else stripe
    async with AsyncExitStack() as running:
        stripe_app = stripe.app()
        stripe_app.add_routes(control_routes(stripe))
        stripe_app.add_routes(stripe_routes(stripe))
        stripe_app.add_routes(dashboard_routes(stripe))
        stripe_url = await running.enter_async_context(
            serving(stripe_app, port=stripe_port, on_all_interfaces=on_all_interfaces)
        )
        connected = autumn(stripe_url=stripe_url, stripe_key=stripe.key)
        autumn_app = connected.app()
        autumn_app.add_routes(control_routes(connected))
        autumn_url = await running.enter_async_context(
            serving(autumn_app, port=autumn_port, on_all_interfaces=on_all_interfaces)
        )
        stripe.webhooks.url = autumn_url + connected.webhook_path
        stripe.webhooks.delay_seconds = webhook_delay_seconds
        environment = {
            "AUTUMN_SECRET_KEY": connected.key,
            "AUTUMN_API_URL": autumn_url,
            "STRIPE_API_KEY": stripe.key,
            "STRIPE_API_BASE": stripe_url,
        }
        yield Simulators(stripe=stripe, autumn=connected, environment=environment)
