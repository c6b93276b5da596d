"""Solvers: how to walk from noise to data.  Each is one step, written in `bridge` and `blend`."""
