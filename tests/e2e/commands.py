"""`customer-sync` as processes that start at once.

Importing the command line takes a second of processor time, and hundreds of commands are run. So each is forked from a
process that has imported it already. Only the start differs from the installed script: the arguments, the environment,
the folder, the outputs and the exit code are those of a process of its own.
"""

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from worker.cli import main

_forked: Final = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["worker.cli"])


async def customer_sync(
    *words: str, folder: Path, environment: Mapping[str, str], keyboard: str = os.devnull
) -> tuple[int, str, str]:
    """Run `customer-sync` with these words in this folder, and return its exit code, output and errors.

    `environment` is all that it has of one. `keyboard` is the file or terminal that standard input comes from. The
    interpreter itself is not started again: of its own variables only PYTHONIOENCODING has an effect.
    """
    with TemporaryDirectory() as kept:
        output, errors = Path(kept, "output"), Path(kept, "errors")
        files = (keyboard, str(output), str(errors))
        process = _forked.Process(target=_run, args=(words, str(folder), dict(environment), files))
        process.start()
        try:
            await asyncio.to_thread(process.join)
            code = process.exitcode
        finally:
            process.kill()
            process.join()
            process.close()
        assert code is not None
        return code, _text(output), _text(errors)


def _text(file: Path) -> str:
    return file.read_text("utf-8")


def _run(words: tuple[str, ...], folder: str, environment: dict[str, str], files: tuple[str, str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate(files):
        opened = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(folder)
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = os.fdopen(0, encoding=encoding)
    sys.stdout = os.fdopen(1, "w", encoding=encoding)
    sys.stderr = os.fdopen(2, "w", encoding=encoding, errors="backslashreplace")
    sys.argv = ["customer-sync", *words]
    main()
