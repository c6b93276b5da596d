"""The pages that belong to no domain: gallery, sweep, queue, models, settings."""
