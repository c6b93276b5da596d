"""Guides: functions from denoisers to denoisers."""
