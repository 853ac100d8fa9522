"""The file of a report: whole or not at all, and for its owner alone. What is in it is up to others.

Reports hold names and e-mail addresses: nobody but the user may read them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO


@contextmanager
def private_file(path: Path) -> Iterator[IO[str]]:
    """A file to write text to, which takes the place of the one at `path` when the block ends well. Raises OSError.

    What is no file, such as a pipe or a terminal, is written to as it is.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    path = path.resolve()  # so that a link stays one
    with NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            yield file
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
