"""`python -m worker` is `customer-sync`."""

from worker.cli.app import main

if __name__ == "__main__":
    main()
