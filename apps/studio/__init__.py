"""The studio: the app in the browser, a view of the engine's jobs with one tab for each domain."""

import os

# Read by gradio when it is imported: nothing about a person's use leaves the machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
