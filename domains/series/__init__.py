"""Time series: tables with a time order, gaps to fill and futures to forecast.

`impute` and `forecast` are the tasks for programs; they are loaded when they are first asked for, with what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domains.series.frames import Estimated, forecast, impute

__all__ = ["Estimated", "forecast", "impute"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from domains.series import frames

        return getattr(frames, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
