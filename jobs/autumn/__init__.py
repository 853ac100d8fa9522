"""The client of Autumn: requests over HTTP, the models of the answers, and the errors they become.

The only room that imports httpx. What to write, and when, belongs in `jobs.sync`.
"""
