"""All limits and choices of the engine in one model: a profile's defaults, then a TOML file, then the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domains.common.errors import BadInput

MEGABYTE, GIGABYTE, HOUR, DAY = 1 << 20, 1 << 30, 3600.0, 86_400.0
PREFIX = "LANGEVIN_"
SETTINGS_FILE = "settings.toml"


class Settings(BaseModel):
    """What the engine allows and how it works; the defaults are those of the profile `local`.

    Every field can be set in a TOML file under its own name, and in the environment as LANGEVIN_ and the name in
    capitals (`LANGEVIN_WORKERS=2`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    profile: Literal["local", "hosted"] = Field("local", description="one person's machine, or open to many")
    home: Path | None = Field(None, description="folder of jobs and results; empty: the user's data folder")

    # Workers
    workers: int = Field(1, ge=1, le=256, description="jobs that run at once, each in a process of its own")
    threads: int = Field(
        0, ge=0, le=1024, description="numerical threads a worker; 0: cores divided by workers"
    )
    worker_bytes: int = Field(16 * GIGABYTE, ge=64 * MEGABYTE, description="memory a job may take")
    recycle_bytes: int = Field(
        3 * GIGABYTE, ge=16 * MEGABYTE, description="memory at which an idle worker is replaced"
    )
    recycle_jobs: int = Field(500, ge=1, description="jobs after which a worker is replaced")
    nice: int = Field(5, ge=0, le=19, description="how far workers step back behind the page, as nice")
    warm_seconds: float = Field(
        2.0, ge=0, description="seconds after the start at which a first worker begins to load libraries"
    )
    task_modules: tuple[str, ...] = Field(
        (), description="modules that declare further tasks; the app and its workers import them"
    )

    engine: Literal["local", "ray"] = Field(
        "local", description="where workers are: on this machine, or on a Ray cluster"
    )
    ray_address: str = Field(
        "",
        max_length=300,
        description="the cluster: auto, HOST:PORT, ray://HOST:PORT; empty: this machine alone",
    )
    ray_gpus: float = Field(0.0, ge=0, le=64, description="GPUs a worker on a cluster; may be a part of one")

    # A job
    job_seconds: float = Field(
        24 * HOUR, gt=0, description="seconds that a job may run, all attempts together"
    )
    silent_seconds: float = Field(
        600.0, gt=0, description="seconds without a sign of life after which a running job is given up"
    )
    stop_seconds: float = Field(
        10.0, gt=0, description="seconds that a job has to stop by itself before its worker is ended"
    )
    attempts: int = Field(
        4, ge=1, le=100, description="starts without a new checkpoint before a job is given up"
    )
    checkpoint_seconds: float = Field(5.0, ge=0, description="seconds between checkpoints of a job, at least")

    # The queue
    queue_length: int = Field(1000, ge=1, description="jobs that may wait in all")
    queue_per_owner: int = Field(500, ge=1, description="jobs of one owner that may wait")
    sweep_cells: int = Field(
        256, ge=1, le=10_000, description="runs of one sweep, at most as many as may wait of one owner"
    )

    # What is kept
    input_bytes: int = Field(64 * MEGABYTE, ge=1, description="largest input file of a job")
    kept_bytes: int = Field(
        50 * GIGABYTE, ge=MEGABYTE, description="results kept in all; pinned ones do not count"
    )
    kept_days: float = Field(365.0, gt=0, description="days that the results of a job are kept")
    kept_jobs: int = Field(10_000, ge=1, description="ended jobs that are kept in all")
    free_bytes: int = Field(GIGABYTE, ge=0, description="space on the disk that is left free")

    # Models from the hub
    hub_downloads: bool = Field(
        True, description="whether the Models page may download and remove models; everybody shares them"
    )
    hub_bytes: int = Field(20 * GIGABYTE, ge=MEGABYTE, description="largest model that is downloaded")

    # Who may reach the app
    hosts: tuple[str, ...] = Field((), description="names under which the app is reached, beside localhost")
    origins: tuple[str, ...] = Field((), description="other sites whose pages may call the app")
    embed_in: tuple[str, ...] = Field((), description="other sites whose pages may show the app in a frame")
    proxies: tuple[str, ...] = Field(
        ("127.0.0.1", "::1"), description="addresses of proxies that are believed on who is asking"
    )
    users_file: Path | None = Field(None, description="file of users; empty: users.toml in the home folder")
    open_to_all: bool = Field(
        False, description="hosted profile: visitors need no login, each has a space of its own"
    )
    session_days: float = Field(14.0, gt=0, le=400, description="days that a login lasts")
    metrics_token: str = Field(
        "", max_length=200, description="bearer token for /metrics; empty: open on loopback, absent elsewhere"
    )

    log_requests: bool = Field(
        False, description="a line of log for each request, not only for those that fail"
    )

    # What a request may weigh, take and repeat; a rate of 0 is no limit
    request_bytes: int = Field(4 * MEGABYTE, ge=4096, description="bytes of a request other than an upload")
    upload_bytes: int = Field(64 * MEGABYTE, ge=1024, description="bytes of an upload")
    upload_idle_seconds: float = Field(20.0, gt=0, description="seconds without a byte that end an upload")
    upload_seconds: float = Field(1800.0, gt=0, description="seconds that an upload may take")
    upload_rate: float = Field(
        2048.0, ge=0, description="bytes a second that an upload must make after its first 10 s"
    )
    connections: int = Field(1000, ge=4, description="connections and requests under way at once")
    requests_per_minute: int = Field(0, ge=0, description="requests of one owner, and of one address")
    uploads_per_hour: int = Field(0, ge=0, description="uploads of one owner, and of one address")
    upload_megabytes_per_hour: int = Field(
        0, ge=0, description="megabytes uploaded by one owner, and from one address"
    )
    guests_per_hour: int = Field(60, ge=0, description="new visitors without login from one address")
    logins_per_quarter_hour: int = Field(
        10, ge=1, description="failed logins of one user; five times as many logins from one address"
    )


# What is otherwise where many people, whom nobody knows, share the machine.
HOSTED: dict[str, Any] = {
    "profile": "hosted",
    "worker_bytes": 8 * GIGABYTE,
    "job_seconds": 900.0,
    "silent_seconds": 180.0,
    "queue_length": 200,
    "queue_per_owner": 8,
    "hub_downloads": False,
    "kept_bytes": 20 * GIGABYTE,
    "kept_days": 2.0,
    "free_bytes": 2 * GIGABYTE,
    "log_requests": True,
    "request_bytes": 2 * MEGABYTE,
    "upload_bytes": 32 * MEGABYTE,
    "input_bytes": 32 * MEGABYTE,
    "upload_seconds": 300.0,
    "connections": 500,
    "requests_per_minute": 600,
    "uploads_per_hour": 120,
    "upload_megabytes_per_hour": 512,
}


def load_settings(
    file: Path | None = None, environ: Mapping[str, str] | None = None, **given: Any
) -> Settings:
    """Settings from a profile, a TOML file, the environment, and `given`; each overrides those before it.

    Args:
        file: A TOML file; None takes the one that LANGEVIN_SETTINGS names, if any.
        environ: The environment; None takes the process's own.
        given: Fields that were asked for on the command line or by a program; None means not asked for.

    Raises:
        BadInput: Naming the setting at fault.
    """
    environ = os.environ if environ is None else environ
    named = file or (Path(environ[f"{PREFIX}SETTINGS"]) if environ.get(f"{PREFIX}SETTINGS") else None)
    stored = _read(named) if named is not None else {}
    variables = {
        name: _listed(value) if field.annotation == tuple[str, ...] else value
        for name, field in Settings.model_fields.items()
        if (value := environ.get(PREFIX + name.upper()))
    }
    chosen = {**stored, **variables, **{name: value for name, value in given.items() if value is not None}}
    base = HOSTED if chosen.get("profile") == "hosted" else {}
    try:
        return Settings.model_validate({**base, **chosen})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in fault["loc"]) or "settings"
        raise BadInput(name, f"{fault['msg'][:1].lower()}{fault['msg'][1:]}; see docs/operate.md") from None


def default_home(environ: Mapping[str, str] | None = None) -> Path:
    """Where jobs and results live: LANGEVIN_HOME, else the user's data folder for this program."""
    environ = os.environ if environ is None else environ
    if named := environ.get(f"{PREFIX}HOME"):
        return Path(named).expanduser()
    from platformdirs import user_data_path

    return user_data_path("langevin", appauthor=False)


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.expanduser().open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise BadInput("settings", f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadInput("settings", f"{file} is not valid TOML: {error}") from None


def _listed(value: str) -> tuple[str, ...]:
    """`a.b, c` as ("a.b", "c")."""
    return tuple(part for item in value.split(",") if (part := item.strip()))
