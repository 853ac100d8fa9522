"""The report of a scan on a terminal, as a page and as files. Its contents come from `jobs.scan`."""
