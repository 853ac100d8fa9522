"""The loops that run in a process beside the jobs: intake, dispatch, the schedule of scans, the canary.

A loop only calls code in `jobs`. Decisions about a customer belong there.
"""
