"""`python -m tests.chaos`: a full run by default; `--short` is the form that the tests run.

The seed is printed first, and the same options repeat the same plan. The exit code is 0 only if the report has no
finding. Every reason for another exit code is a finding of the report.
"""

import asyncio
import shutil
import signal
import sys
import tempfile
import traceback
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tests.chaos.options import SHORT, Options
from tests.chaos.report import as_json, broken_off, show, write_json
from tests.chaos.runner import Result, run

FULL = Options()
Int = Annotated[int | None, typer.Option()]
Float = Annotated[float | None, typer.Option()]


def main(
    short: Annotated[bool, typer.Option("--short", help="The short form, about a minute.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same plan.")] = FULL.seed,
    events: Int = None,
    customers: Int = None,
    kills: Annotated[int | None, typer.Option(help="SIGKILLs and SIGTERMs together.")] = None,
    stops: Annotated[int | None, typer.Option(help="SIGSTOPs; every second one is longer than the lease.")] = None,
    redis_restarts: Int = None,
    faults: Annotated[float | None, typer.Option(help="A factor for the probabilities of faults; 0 is none.")] = None,
    hang_seconds: Float = None,
    doubled_wakeups: Int = None,
    max_in_flight: Int = None,
    workers: Int = None,
    webhook_seconds: Annotated[float | None, typer.Option(help="The longest delay of Stripe's webhooks.")] = None,
    without_change: Annotated[
        bool | None, typer.Option("--without-change", help="Stripe also announces writes that change nothing.")
    ] = None,
    other_writes: Annotated[int | None, typer.Option(help="Writes of other apps and of people together.")] = None,
    calm_customers: Annotated[int | None, typer.Option(help="Customers that only people in Stripe change.")] = None,
    calm_acts: Annotated[int | None, typer.Option(help="Acts of people, and payments, on these customers.")] = None,
    withheld: Annotated[float | None, typer.Option(help="The share of Stripe's events that never come.")] = None,
    list_seconds: Annotated[float | None, typer.Option(help="The longest delay of Stripe's list of events.")] = None,
    poll_seconds: Annotated[int | None, typer.Option(help="The time between two polls of Stripe's events.")] = None,
    webhook_share: Annotated[float | None, typer.Option(help="The part of the run with webhooks to workers.")] = None,
    event_webhook_seconds: Annotated[float | None, typer.Option(help="The longest delay of these webhooks.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="The time for sending events and striking workers; it counts while a worker is ready."),
    ] = None,
    settle_seconds: Annotated[float | None, typer.Option(help="The longest wait for a run to settle.")] = None,
    worker: Annotated[str | None, typer.Option(help="Other arq settings than the Procfile's.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="A file for the report as JSON.")] = None,
) -> None:
    """Kill, stop and break everything on a schedule, then check that every promise was kept."""
    given: dict[str, Any] = {name: value for name, value in locals().items() if value is not None}
    known = {each.name for each in fields(Options)}
    options = replace(SHORT if short else FULL, **{name: value for name, value in given.items() if name in known})
    print(options, flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    report = _report_of(options, folder)
    if report["clean"]:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"The workers' logs are in {folder}; replay with --seed {options.seed} and the same options")
    if json_file is not None:
        write_json(report, json_file)
    # The report is the last output, so it and the exit code always agree.
    sys.exit(0 if report["clean"] else 1)


def _report_of(options: Options, folder: Path) -> dict[str, Any]:
    """Run and show the result. An error that ends the run is a finding too."""
    try:
        result = asyncio.run(_until_asked_to_end(options, folder))
    except asyncio.CancelledError:
        print(f"Interrupted; the workers' logs are in {folder}")
        raise typer.Exit(128 + signal.SIGTERM) from None
    except Exception as error:
        traceback.print_exc()
        report = broken_off(options, error)
        print(*report["findings"], sep="\n")
        return report
    show(result, Console(width=110))
    return as_json(result)


async def _until_asked_to_end(options: Options, folder: Path) -> Result:
    """Run until the end or SIGTERM. Like Ctrl-C, SIGTERM first stops everything that was started."""
    task = asyncio.ensure_future(run(options, folder))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


if __name__ == "__main__":
    typer.run(main)
