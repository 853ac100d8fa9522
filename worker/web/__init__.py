"""The HTTP port of a process: health, metrics, the operator's page and its sign-in.

`worker.status` reads the state and writes the texts of the pages.
"""
