"""One package per domain: what its data is, which network denoises it, how its files are read and written."""
