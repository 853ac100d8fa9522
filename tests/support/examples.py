"""The number of examples of each property. It is small by default; EXAMPLES_TIMES=10 takes ten times as many."""

import os


def examples(few: int) -> int:
    """Return `few`, times EXAMPLES_TIMES of the environment."""
    return few * int(os.environ.get("EXAMPLES_TIMES", "1"))
