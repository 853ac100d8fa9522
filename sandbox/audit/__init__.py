"""The rules for a customer on both sides after events, as the demo, the chaos runs and the property tests check them.

A second opinion: it reads the simulators' data and shares no line with the worker. Purely computational, no I/O here.
"""
