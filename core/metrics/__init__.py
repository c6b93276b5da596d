"""Scores of what a model draws against what was true."""
