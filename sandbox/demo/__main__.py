"""`python -m sandbox.demo` runs the demo."""

import sys

from sandbox.demo.app import main

if __name__ == "__main__":
    sys.exit(main())
