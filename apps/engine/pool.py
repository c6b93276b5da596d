"""Where workers are: on this machine, or on the nodes of a Ray cluster."""

from __future__ import annotations

from apps.engine.process import Inbox, WorkerProcess
from apps.engine.settings import Settings


def sized(settings: Settings) -> Settings:
    """The settings as the chosen place has them; joins the cluster where it is one.

    Raises:
        BadInput: If there is no cluster.
        MissingLibrary: If Ray is asked for and not installed.
    """
    if settings.engine != "ray":
        return settings

    from apps.engine.ray_pool import sized as sized_on_ray

    return sized_on_ray(settings)


def hire(settings: Settings, number: int, inbox: Inbox, threads: int, limit: int) -> WorkerProcess:
    """Starts a worker; see `WorkerProcess` for the arguments."""
    if settings.engine != "ray":
        return WorkerProcess(number, inbox, threads, limit, settings.nice, settings.task_modules)
    from apps.engine.ray_pool import RayWorker

    return RayWorker(number, inbox, threads, limit, settings.nice, settings.task_modules, settings.ray_gpus)
