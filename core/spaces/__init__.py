"""The spaces in which states live: R^n, finite sets, rotations, and products of these."""
