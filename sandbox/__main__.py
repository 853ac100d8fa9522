"""`python -m sandbox`: run Redis, Autumn and Stripe in one terminal, for a worker in another one."""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox.autumn.reads import NEWEST_VERSIONS
from sandbox.autumn.server import AutumnSimulator
from sandbox.dashboard import PATH as DASHBOARD
from sandbox.everything import sandbox, simulators

_LARGEST_PORT = 65_535


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="Run Redis and simulators of Autumn and Stripe, until Ctrl-C."
    )
    parser.add_argument("--redis-url", metavar="URL", help="Name this Redis in the environment, and start none.")
    for service in ("autumn", "stripe"):
        parser.add_argument(f"--{service}-port", type=_port, default=0, metavar="PORT", help="Default: a free port.")
    parser.add_argument(
        "--autumn-newest-version",
        choices=NEWEST_VERSIONS,
        metavar="VERSION",
        help=f"The newest version that Autumn supports, of {', '.join(NEWEST_VERSIONS)}. The environment names it. "
        f"Default: {NEWEST_VERSIONS[0]}, as the recorded server. billing_details need 2.5.",
    )
    parser.add_argument(
        "--all-interfaces", action="store_true", help="Let other machines reach the simulators, which have no password."
    )
    return parser.parse_args()


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= _LARGEST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is not a port: use a number from 0 to {_LARGEST_PORT}")


@asynccontextmanager
async def _services(options: argparse.Namespace) -> AsyncIterator[dict[str, str]]:
    """Run what the options name, and yield the environment of a worker."""
    where = {
        "autumn_port": options.autumn_port,
        "stripe_port": options.stripe_port,
        "on_all_interfaces": options.all_interfaces,
    }
    if options.redis_url is None:
        async with sandbox(**where) as everything:
            yield {**everything.environment, **_newest(everything.autumn, options)}
    else:
        async with simulators(**where) as services:
            newest = _newest(services.autumn, options)
            yield {"REDIS_URL": options.redis_url, **services.environment, **newest}


def _newest(autumn: AutumnSimulator, options: argparse.Namespace) -> dict[str, str]:
    """Set the newest version that the options name, and return the environment of a worker that uses it."""
    version = options.autumn_newest_version
    if version is None:
        return {}
    autumn.newest_version = version
    return {"AUTUMN_API_VERSION": f"{version}.0"}


async def _run(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with _services(options) as environment:
        print(_how_to_use(environment), flush=True)
        await stopped.wait()


def _how_to_use(environment: dict[str, str]) -> str:
    lines = [f"export {name}={value}" for name, value in environment.items()]
    faults = f"{environment['STRIPE_API_BASE']}/_sandbox/faults"
    lines.append("# Paste these lines into the terminal of the worker. Ctrl-C here stops Redis and both simulators.")
    lines.append(f"""# Stop Stripe: curl {faults} -d '{{"kind": "503"}}'   Start it again: curl -X DELETE {faults}""")
    settings = f"{environment['STRIPE_API_BASE']}/_sandbox/settings"
    lines.append(f"""# Delay Stripe's webhooks: curl {settings} -d '{{"delay_seconds": [0, 30], "twice": 0.1}}'""")
    lines.append(
        f"""# List Stripe's events late: curl {settings} -d '{{"list_delay_seconds": [0, 20], "repeats": 0.1}}'"""
    )
    base = environment["STRIPE_API_BASE"]
    worker = '{"url": "http://127.0.0.1:8080/stripe/webhook", "secret": "whsec_worker", "types": ["*"]}'
    lines.append(f"# Send Stripe's events to the worker too: curl {base}/_sandbox/webhooks -d '{worker}'")
    lines.append(f"# Edit customers in Stripe and begin payments: {base}{DASHBOARD}")
    return "\n".join(lines)


if __name__ == "__main__":
    asyncio.run(_run(_options()))
