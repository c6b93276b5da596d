"""Many results on a Ray cluster: chunks of them go to nodes, come back one by one, and are redone where a node is lost.

Nodes share nothing with this machine but the same versions of this program: inputs travel there and results travel
back.  Imported only where `--engine ray` asks for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apps.engine.environment import ROOT, import_task_modules, library_versions, thread_count
from apps.engine.failure import describe_crash
from apps.engine.many import Many
from apps.engine.publish import publish, staging_folder
from apps.engine.recipe import input_files
from apps.engine.run import RESULT, run_task
from apps.engine.validation import make_request
from domains.common.errors import BadInput, MissingLibrary
from domains.common.models import builtin_models
from domains.common.several import result_request
from domains.registry import find_task

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError:
    raise MissingLibrary("ray", "ray") from None

_log = logging.getLogger(__name__)
_CHUNKS_A_SLOT, _LARGEST = 4, 32
_ATTEMPTS = 8  # losses in a row of one chunk that got no further
Files = dict[str, bytes]


def connect(address: str = "") -> None:
    """Joins a cluster, or begins one on this machine; does nothing where that has been done.

    Args:
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT`; empty takes RAY_ADDRESS, else this machine alone.

    Raises:
        BadInput: If there is no cluster at the address.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    paths = [str(ROOT)] if (ROOT / "pyproject.toml").is_file() else []
    search = os.pathsep.join(filter(None, (*paths, os.environ.get("PYTHONPATH", ""))))
    try:
        ray.init(
            address=address or None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env={"env_vars": {"PYTHONPATH": search}},
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        words = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadInput("ray_address", f"no cluster can be reached: {words}") from None


def slots(threads: int) -> int:
    """How many results the cluster makes at once, `threads` cores each."""
    return max(
        1, int(sum(node["Resources"].get("CPU", 0) // threads for node in ray.nodes() if node["Alive"]))
    )


def run_on_ray(many: Many, todo: list[int], threads: int | None = None, gpus: float = 0.0) -> Iterator[int]:
    """Makes results on the cluster; yields the index of each that lies published in its folder.

    A result is the same as one that is made here with as many threads: its noise depends on its seed alone.

    Args:
        many: The results.
        todo: Which of them.
        threads: Numerical threads, and cores, of each; None takes as many as a run here would.
        gpus: GPUs of each; may be a part of one.

    Raises:
        BadInput: If a node says that the request cannot be served, or has other versions or another model.
        RuntimeError: If nodes are lost again and again, or a run fails.
    """
    model = many.request.sampling.model
    if model is not None and model not in builtin_models():
        raise BadInput(
            "model", "on Ray name an installed model; folders of this machine are not on the nodes"
        )
    if threads is None and "torch" in many.task.libraries:
        import torch  # noqa: F401 - it knows how many a run here would use
    threads = threads or thread_count()
    plan = ray.put(_plan(many, threads))
    make: Any = ray.remote(chunk).options(
        num_cpus=threads, num_gpus=gpus, max_retries=0, num_returns="streaming", scheduling_strategy="SPREAD"
    )
    waiting = deque(_chunks(todo, slots(threads)))
    lost: dict[int, int] = {}  # first index of a chunk -> times that it was lost without getting further
    active: dict[Any, list[int]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < 2 * slots(threads):
                indices = waiting.popleft()
                active[make.remote(plan, indices)] = indices
            ready: list[Any]
            ready, _ = ray.wait(list(active), num_returns=1, timeout=5.0)
            for stream in ready:
                left = active[stream]
                try:
                    answer: Any = ray.get(next(stream))
                except StopIteration:
                    del active[stream]
                    if left:  # it ended early without a word
                        waiting.append(left)
                    continue
                except RayTaskError as error:
                    raise RuntimeError(f"a node failed: {describe_crash(error.cause or error)}") from None
                except RayError as error:
                    del active[stream]
                    lost[left[0]] = lost.get(left[0], 0) + 1
                    if lost[left[0]] >= _ATTEMPTS:
                        words = f"result {left[0]} was lost {_ATTEMPTS} times ({type(error).__name__})"
                        raise RuntimeError(f"{words}; it may need more memory than nodes have") from None
                    _log.warning("a node was lost; %d results are made elsewhere", len(left))
                    waiting.append(left)
                    continue
                yield _published(many, left, answer)
    finally:
        for stream in active:
            with contextlib.suppress(RayError, ValueError):
                ray.cancel(stream)


def chunk(plan: dict[str, Any], indices: list[int]) -> Iterator[dict[str, Any]]:
    """Runs on a node: makes some of the results, and gives each as its files, or one sentence that says why not."""
    with tempfile.TemporaryDirectory(prefix="langevin-ray-") as place:
        try:
            import_task_modules(plan["modules"])
            task = find_task(plan["task"])
            _check_versions(plan["versions"], library_versions(task.libraries))
            fields = dict(plan["fields"])
            for number, (name, file, data) in enumerate(plan["files"]):
                path = Path(place) / "inputs" / str(number) / file
                path.parent.mkdir(parents=True)
                path.write_bytes(data)
                _put(fields, name, str(path))
            request = make_request(task, fields)
            for index in indices:
                out = Path(place) / f"{index:06d}"
                done = run_task(task, result_request(request, index), out=out, threads=plan["threads"])
                used = done.recipe.model.sha256 if done.recipe.model is not None else None
                if used != plan["model"]:
                    raise BadInput(
                        "model", "a node has other weights under this name; install the same there"
                    )
                yield {"index": index, "files": read_files(out)}
        except BadInput as error:
            yield {"field": error.field, "message": error.message}
        except Exception as error:
            yield {"field": "", "message": describe_crash(error)}


def read_files(folder: Path) -> Files:
    """Name -> bytes of every file under `folder`."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_files(files: Files, out: Path) -> None:
    """Publishes files that came from a node: all of them or none, `result.json` last."""
    with staging_folder(out) as staging:
        ready = staging / "ready"
        for name, data in files.items():
            target = ready / name
            if not target.resolve().is_relative_to(ready.resolve()):
                raise RuntimeError("a node sent a file outside of its result")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        publish(ready, out, last=[RESULT])


def _published(many: Many, left: list[int], answer: dict[str, Any]) -> int:
    if "message" in answer:
        if answer["field"]:
            raise BadInput(answer["field"], answer["message"])
        raise RuntimeError(answer["message"])
    index: int = answer["index"]
    write_files(answer["files"], many.folder(index))
    left.remove(index)
    return index


def _plan(many: Many, threads: int) -> dict[str, Any]:
    from apps.engine.settings import load_settings

    files = [(name, path.name, path.read_bytes()) for name, path in input_files(many.request).items()]
    return {
        "task": many.task.name,
        "fields": many.request.model_dump(mode="json"),
        "files": files,
        "threads": threads,
        "modules": load_settings().task_modules,
        "versions": library_versions(many.task.libraries),
        "model": many.model.sha256() if many.model is not None else None,
    }


def _chunks(todo: list[int], places: int) -> Iterator[list[int]]:
    """Several chunks a place, so that a slow node holds nobody up and a lost one takes little along."""
    size = max(1, min(_LARGEST, len(todo) // (_CHUNKS_A_SLOT * places)))
    for start in range(0, len(todo), size):
        yield todo[start : start + size]


def _check_versions(here: dict[str, str], there: dict[str, str]) -> None:
    for name, version in here.items():
        if name != "python" and there.get(name) != version:
            found = there.get(name, "none")
            raise BadInput(
                "engine", f"a node has {name} {found}, this machine {version}; install the same there"
            )


def _put(fields: dict[str, Any], dotted: str, value: str) -> None:
    *way, last = dotted.split(".")
    place: Any = fields
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    place[int(last) if isinstance(place, list) else last] = value
