"""The commands of `customer-sync`: arguments in, text and exit codes out.

`worker.status` and `worker.reports` read and write the texts that a command shows.
"""
