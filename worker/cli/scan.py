"""The commands `customer-sync scan …`: compare both sides now, and list earlier scans.

Exit codes: 0 no drift. 2 drift, whether a sync would repair it or not. 1 the scan failed or was refused, or another
scan is running. 64 a wrong option. 78 a wrong setting.
"""

import asyncio
import json
import os
import re
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import uvloop
from redis.exceptions import RedisError

from config.loading import SettingsError, load_scan_settings
from config.logs import configure_logs
from config.settings import Settings
from jobs.errors import SyncError
from jobs.scan.compare import SCAN_KINDS
from jobs.scan.one import scan_one
from jobs.scan.record import ScanLostError, ScanProgress, ScanRecord, ScanRunningError
from jobs.scan.report import ScanReport, ScanRun
from jobs.scan.run import ScanRequest, scanning
from worker.cli.console import EX_CONFIG, fail, with_redis
from worker.lifespan import open_scan
from worker.ownership import ForeignDeploymentError, refuse_foreign
from worker.redis_client import open_briefly, open_redis
from worker.redis_errors import Trouble, reach, trouble_of, trouble_with
from worker.reports.files import write_csv, write_json
from worker.reports.html import write_page
from worker.reports.terminal import running_text, show_history, show_report, watching

FAILED: Final = 1
DRIFT: Final = 2
INTERRUPTED: Final = 130
_SPAN: Final = re.compile(r"(\d+)([mhd])")
_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400}


class RedisUnusableError(Exception):
    """Redis cannot be used, so no scan began."""

    def __init__(self, trouble: Trouble) -> None:
        """Keep `trouble`, which says why and what to do."""
        super().__init__(str(trouble))
        self.trouble = trouble


scan_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@scan_app.callback()
def scan(
    ctx: typer.Context,
    apply: Annotated[
        bool, typer.Option("--apply", help="Request a reconcile for each customer that a sync can repair.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --apply: also if more than SCAN_MAX_CHANGED would change.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", help=f"Only findings of this kind; may be repeated. Kinds: {', '.join(SCAN_KINDS)}."
        ),
    ] = None,
    customer: Annotated[
        str | None, typer.Option(metavar="CUSTOMER", help="Compare only this customer, without the lists.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="Only customers created since then: 90m, 12h, 7d, or a UTC time such as 2026-11-01."
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the findings as CSV.")] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report as an HTML page.")
    ] = None,
) -> None:
    """Compare both sides and report the differences. With --apply, request reconciles that repair them.

    A scan itself writes to neither service.

    Exit codes:

    \b
    0   no drift
    1   the scan failed or was refused, or another scan is running
    2   drift was found
    64  a wrong option
    78  a wrong setting
    """
    if ctx.invoked_subcommand is not None:
        return
    if customer is not None and since is not None:
        raise typer.BadParameter("cannot be used with --since", param_hint="--customer")
    if force and not apply:
        raise typer.BadParameter("needs --apply", param_hint="--force")
    request = ScanRequest(apply=apply, force=force, kinds=_kinds(only or []), since_ms=_since_ms(since))
    for option, path in (("--json", json_file), ("--csv", csv_file), ("--html", html_file)):
        _refuse_unwritable(option, path)
    files = [(write_json, json_file), (write_csv, csv_file), (write_page, html_file)]

    def deliver(report: ScanReport) -> ScanRun:
        for write, path in files:
            if path is not None:
                write(report, path)
        show_report(report)
        return report.this_run

    run = _ended_well(_scan(request, customer, deliver))
    if run.state == "refused":
        fail(FAILED, run.text)
    raise typer.Exit(DRIFT if run.drift else 0)


@scan_app.command()
def history(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List the last scans with their totals, the newest first."""
    runs = with_redis(lambda redis, place: ScanRecord(redis, place.key_prefix).history())
    if as_json:
        for run in runs:
            typer.echo(json.dumps(asdict(run)))
    elif runs:
        show_history(runs)
    else:
        typer.echo("No scan has run yet.")


def _ended_well(scan: Coroutine[Any, Any, ScanRun]) -> ScanRun:
    """Run the scan and return its result. Raises: typer.Exit, after an error text on standard error, if it fails."""
    try:
        return uvloop.run(scan)
    except (SettingsError, ForeignDeploymentError) as error:
        fail(EX_CONFIG, str(error))
    except ScanRunningError as error:
        fail(FAILED, running_text(error.progress))
    except ScanLostError as error:
        fail(FAILED, str(error))
    except SyncError as error:
        fail(FAILED, f"the scan failed: {error}")
    except RedisUnusableError as error:
        fail(EX_CONFIG if error.trouble.is_setting else FAILED, str(error.trouble))
    except RedisError as error:
        trouble = trouble_of(error)
        fail(EX_CONFIG if trouble.is_setting else FAILED, str(trouble))
    except (sqlite3.Error, OSError) as error:
        fail(FAILED, f"the scan failed: {error}. Check the free space in SCAN_SPOOL and for the report.")
    except KeyboardInterrupt:
        fail(INTERRUPTED, "Stopped. If the scan was still listing, the same command resumes it within six hours.")


async def _scan(request: ScanRequest, customer: str | None, deliver: Callable[[ScanReport], ScanRun]) -> ScanRun:
    settings = load_scan_settings()
    configure_logs(settings.log_format, "CRITICAL")
    await _reach_redis(settings)
    async with (
        open_redis(settings.redis_url.get_secret_value(), settings.key_prefix, settings.redis_certificate) as redis,
        open_scan(settings, redis) as deps,
    ):
        if customer is not None:
            return deliver(await scan_one(deps, customer, request))
        progress = ScanProgress()
        async with AsyncExitStack() as running:
            async with watching(progress):
                report = await running.enter_async_context(scanning(deps, request, progress))
            # In a thread, so that the scan renews its lease while a large report is written.
            return await asyncio.to_thread(deliver, report)


async def _reach_redis(settings: Settings) -> None:
    """Check Redis. Raises RedisUnusableError at once if it is away, because a running scan waits much longer.

    Raises ForeignDeploymentError if the keys in it belong to another deployment.
    """
    async with open_briefly(settings.redis_url.get_secret_value(), settings.redis_certificate) as redis:
        try:
            await reach(redis)
            await refuse_foreign(settings, redis, note=False)
        except RedisError as error:
            raise RedisUnusableError(await trouble_with(redis, error)) from error


def _kinds(only: list[str]) -> tuple[str, ...]:
    """Return the kinds, each once. Raises typer.BadParameter for an unknown kind."""
    for kind in only:
        if kind not in SCAN_KINDS:
            raise typer.BadParameter(f"{kind!r} is unknown: use {', '.join(SCAN_KINDS)}", param_hint="--only")
    return tuple(dict.fromkeys(only))


def _since_ms(since: str | None) -> int | None:
    """Return the time in milliseconds since the epoch. Raises typer.BadParameter if it is invalid or in the future."""
    if since is None:
        return None
    now = datetime.now(UTC)
    try:
        span = _SPAN.fullmatch(since)
        if span is not None:
            moment = now - timedelta(seconds=int(span[1]) * _SECONDS[span[2]])
        else:
            moment = datetime.fromisoformat(since)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{since!r} is not a time: write 90m, 12h, 7d, or 2026-11-01", param_hint="--since"
        ) from None
    if moment > now:
        raise typer.BadParameter(f"{since!r} is in the future: write a past time", param_hint="--since")
    return int(moment.timestamp() * 1000)


def _refuse_unwritable(option: str, path: Path | None) -> None:
    """Raise typer.BadParameter if the report cannot be written, before a long scan begins."""
    if path is None:
        return
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder: name a file", param_hint=option)
    is_file = path.is_file() or not path.exists()
    if is_file and not os.access(path.resolve().parent, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"{path.parent} is not a writable folder", param_hint=option)
