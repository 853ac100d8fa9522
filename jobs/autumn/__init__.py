"""The client of Autumn: requests over HTTP, the models of the answers, and the errors they become.

Only this package imports httpx. `jobs.sync` decides which values to write, and when.
"""
