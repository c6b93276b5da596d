"""The engine: runs tasks, writes what they make with its recipe, keeps jobs, and replays recipes.

This file stays empty of imports, so that the command line starts at once: take what you need from the
modules.
"""
