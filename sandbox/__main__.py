"""`python -m sandbox`: the outside world in one terminal, for a worker that is started in another."""

import asyncio
import signal

from sandbox.everything import Sandbox, sandbox


async def _run() -> None:
    asked_to_end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_end.set)
    async with sandbox() as running:
        print(_how_to_use(running), flush=True)
        await asked_to_end.wait()


def _how_to_use(running: Sandbox) -> str:
    lines = [f"export {name}={value}" for name, value in running.environment.items()]
    faults = f"{running.environment['STRIPE_API_BASE']}/_sandbox/faults"
    lines.append("# Paste these lines where the worker will run; Ctrl-C ends it all.")
    lines.append(f"""# Stripe goes down: curl {faults} -d '{{"kind": "503"}}'   and is back: curl -X DELETE {faults}""")
    settings = f"{running.environment['STRIPE_API_BASE']}/_sandbox/settings"
    lines.append(f"""# Stripe's events are late: curl {settings} -d '{{"delay_seconds": [0, 30], "twice": 0.1}}'""")
    return "\n".join(lines)


if __name__ == "__main__":
    asyncio.run(_run())
