"""The results as a table in Markdown, as JSON, and as the last line of the output."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sandbox.redis import describe_server, find_redis_server
from tests.benchmarks.figures import FIGURES, Measured

BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


def as_markdown(measured: Measured, command: str) -> str:
    """Return the table, with the machine, the date and the command that repeats it."""
    lines = [f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {machine()}:", "", "| key | what | target | measured | |"]
    lines += ["|---|---|---|---|---|"]
    for figure in FIGURES:
        value = measured.figures[figure.key]
        target = f"{'≥' if figure.bound == 'at least' else '≤'} {figure.target:.3g}"
        missed = "" if figure.holds(value) else "missed"
        lines.append(f"| `{figure.key}` | {figure.what} | {target} | {value:.3g} | {missed} |")
    lines += ["", "Other measured numbers:", "", "| key | measured |", "|---|---|"]
    lines += [f"| `{key}` | {value:.4g} |" for key, value in measured.beside.items()]
    return "\n".join(lines)


def as_line(measured: Measured) -> str:
    """Return the figures as one line of JSON."""
    return json.dumps({figure.key: round(measured.figures[figure.key], 4) for figure in FIGURES})


def write_json(measured: Measured, command: str, path: Path) -> None:
    """Write all results to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"command": command, "date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine()}
    whole = {**about, "figures": dict(measured.figures), "beside": dict(measured.beside)}
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def write_document(table: str, path: Path) -> None:
    """Insert the table into the document between its marks. Raises ValueError if it has none."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for the table between {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def machine() -> str:
    """Return the machine in a few words, and its load."""
    software = f"{platform.system()}, Python {platform.python_version()}, {_redis()}"
    return f"{os.cpu_count()} cores ({_processor()}), {software}, load {os.getloadavg()[1]:.1f} over the last 5 minutes"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _redis() -> str:
    return describe_server(find_redis_server())
