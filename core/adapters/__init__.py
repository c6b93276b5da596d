"""Adapters: what is added to a trained network, which itself stays as it is."""
