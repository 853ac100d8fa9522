"""The commands of `customer-sync`: arguments in, text and exit codes out.

What a command shows is read and worded in `worker.status` and `worker.reports`.
"""
