"""Score molecules by rules that are frozen: valid, stable, new, like real ones, at ease in three dimensions."""
