"""`python -m worker` is `customer-sync`."""

from worker.cli import main

if __name__ == "__main__":
    main()
