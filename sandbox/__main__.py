"""`python -m sandbox`: run Redis, Autumn and Stripe in one terminal, for a worker in another one."""

import asyncio
import signal

from sandbox.dashboard import PATH as DASHBOARD
from sandbox.everything import Sandbox, sandbox


async def _run() -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with sandbox() as running:
        print(_how_to_use(running), flush=True)
        await stopped.wait()


def _how_to_use(running: Sandbox) -> str:
    lines = [f"export {name}={value}" for name, value in running.environment.items()]
    faults = f"{running.environment['STRIPE_API_BASE']}/_sandbox/faults"
    lines.append("# Paste these lines into the terminal of the worker. Ctrl-C here stops Redis and both simulators.")
    lines.append(f"""# Stop Stripe: curl {faults} -d '{{"kind": "503"}}'   Start it again: curl -X DELETE {faults}""")
    settings = f"{running.environment['STRIPE_API_BASE']}/_sandbox/settings"
    lines.append(f"""# Delay Stripe's webhooks: curl {settings} -d '{{"delay_seconds": [0, 30], "twice": 0.1}}'""")
    lines.append(
        f"""# List Stripe's events late: curl {settings} -d '{{"list_delay_seconds": [0, 20], "repeats": 0.1}}'"""
    )
    base = running.environment["STRIPE_API_BASE"]
    worker = '{"url": "http://127.0.0.1:8080/stripe/webhook", "secret": "whsec_worker", "types": ["*"]}'
    lines.append(f"# Send Stripe's events to the worker too: curl {base}/_sandbox/webhooks -d '{worker}'")
    lines.append(f"# Edit customers in Stripe and begin payments: {base}{DASHBOARD}")
    return "\n".join(lines)


if __name__ == "__main__":
    asyncio.run(_run())
