"""The loops that run in a process beside the jobs: intake, dispatch, the schedule of scans, the canary.

A loop calls a job or a room of `jobs`; it decides nothing about a customer.
"""
