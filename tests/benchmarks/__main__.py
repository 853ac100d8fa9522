"""`python -m tests.benchmarks`: every figure in full, or in small with `--form quick`.

Prints the table and, as the last line, the figures as JSON. Writes all results to build/bench.json.
"""

import asyncio
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tests.benchmarks.report import as_line, as_markdown, write_document, write_json
from tests.benchmarks.runner import measure
from tests.benchmarks.stage import Form

COMMANDS = {
    Form.FULL: "make bench",
    Form.QUICK: "make bench-quick",
    Form.CHECK: "python -m tests.benchmarks --form check",
}


def main(
    form: Annotated[
        Form,
        typer.Option(help="quick: small sizes, about a minute. check: only whether it runs; its figures mean nothing."),
    ] = Form.FULL,
    json_file: Annotated[Path, typer.Option("--json", help="The file for all results.")] = Path("build/bench.json"),
    document: Annotated[
        Path | None, typer.Option(help="A document to insert the table into, between its marks.")
    ] = None,
) -> None:
    """Measure the worker beside the naive worker and the bare calls."""
    # SIGTERM ends it as Ctrl-C does, so all that runs is stopped first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    command = COMMANDS[form]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        measured = asyncio.run(measure(form=form, folder=Path(folder), tell=_tell))
    table = as_markdown(measured, command)
    print(table)
    write_json(measured, command, json_file)
    if document is not None:
        write_document(table, document)
    print(as_line(measured))


def _tell(parts: str) -> None:
    print(f"measuring: {parts}", flush=True)


if __name__ == "__main__":
    typer.run(main)
