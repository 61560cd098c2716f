"""Engines and the worker process that hosts one of them.

The front never imports an engine: it speaks to workers over `engine.v1`.
"""
