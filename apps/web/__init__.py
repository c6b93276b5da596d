"""The app on the net: one ASGI application around the pages, and everything that stands between it and a stranger."""
