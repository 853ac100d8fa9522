"""The report of a scan on a terminal, as a page and as files.

What is in it comes from `jobs.scan`.
"""
