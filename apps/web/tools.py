"""Each task as a tool of the Model Context Protocol, at `/gradio_api/mcp`, for whoever the door let in.

Gradio brings a server of its own, which calls the app over a connection without the caller's login and takes files by
URL.  Here a tool call is a job of its caller like any other, its fields have their types and bounds, and files come as
content.  Needs the official `mcp` library; without it there is nothing at this address.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from apps.engine.environment import langevin_version, missing_libraries
from apps.engine.jobs import Engine, Job, JobState
from apps.engine.run import Finished
from apps.web.answers import refusal
from apps.web.bodies import replayed
from apps.web.calls import owner_folder
from apps.web.incoming import staging
from apps.web.job_models import media_type
from apps.web.owners import owner_of
from apps.web.requests import Intake, request_schema
from domains.common.errors import BadInput, MissingLibrary
from domains.common.task import Task
from domains.registry import all_tasks

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.types import CallToolResult, ContentBlock, Tool

PATH = "/gradio_api/mcp"
_LOOK = 0.1  # seconds between looks at a job
_TOLD = 1.0  # seconds between notes on progress
_SHOWN_IMAGE, _SHOWN_TEXT = (
    1 << 20,
    32 << 10,
)  # bytes of a file that is answered as it is; larger ones as a link


def tool_routes(engine: Engine, uploads: Path, limit: int) -> APIRouter:
    """The tools' routes; empty where the library is absent.

    Args:
        engine: Runs the jobs.
        uploads: Folder of all uploads.
        limit: Largest file, bytes.
    """
    if importlib.util.find_spec("mcp") is None:
        return APIRouter()
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    manager = StreamableHTTPSessionManager(_server(engine, uploads, limit), stateless=True)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with manager.run():
            yield

    class Handler:
        """An ASGI application, which Starlette takes for no function."""

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            body = await Request(scope, receive).body()
            if scope["method"] == "POST" and not _is_message(body):
                await refusal(400, "the body is no message of JSON-RPC 2.0")(scope, receive, send)
                return
            await manager.handle_request(scope, replayed(body, receive), send)

    router = APIRouter(lifespan=lifespan)
    for path in (PATH, f"{PATH}/"):
        router.routes.append(
            Route(path, Handler(), methods=["GET", "POST", "DELETE"], include_in_schema=False)
        )
    return router


def tools() -> dict[str, Task]:
    """Name of a tool -> its task, for those that this installation can run."""
    return {task.name.replace(".", "_"): task for task in all_tasks().values() if not missing_libraries(task)}


def tool(name: str, task: Task) -> Tool:
    """A task as a tool."""
    from mcp.types import Tool, ToolAnnotations

    about = f"{task.summary}  Answers its metrics, notes and files."
    hints = ToolAnnotations(title=task.title, readOnlyHint=False, destructiveHint=False, openWorldHint=False)
    return Tool(
        name=name, title=task.title, description=about, inputSchema=request_schema(task), annotations=hints
    )


def _is_message(body: bytes) -> bool:
    """Whether the library will make something of a body; what it says of others takes many lines."""
    from mcp.types import JSONRPCMessage

    try:
        JSONRPCMessage.model_validate_json(body)
    except ValidationError:
        return False
    return True


def _server(engine: Engine, uploads: Path, limit: int) -> Server[Any, Any]:
    from mcp.server.lowlevel import Server
    from mcp.types import CallToolResult, TextContent

    server: Server[Any, Any] = Server("langevin", version=langevin_version())

    @server.list_tools()
    async def list_tools() -> list[Tool]:
        return [tool(name, task) for name, task in tools().items()]

    # Our own check says in one sentence what the library's would say in several lines.
    @server.call_tool(validate_input=False)
    async def call_tool(name: str, arguments: dict[str, Any]) -> CallToolResult:
        request = server.request_context.request
        try:
            ended = await _run(server, engine, uploads, limit, name, arguments, owner_of(request))
            return _answer(ended, str(request.base_url) if isinstance(request, Request) else "/")
        except (BadInput, MissingLibrary) as error:
            return CallToolResult(content=[TextContent(type="text", text=str(error))], isError=True)

    return server


async def _run(
    server: Server[Any, Any],
    engine: Engine,
    uploads: Path,
    limit: int,
    name: str,
    arguments: dict[str, Any],
    owner: str,
) -> Job:
    """The job of a tool call once it has ended; a caller that gives up ends it."""
    task = tools().get(name)
    if task is None:
        raise BadInput("name", f"there is no tool of this name; the tools are {', '.join(tools())}")
    with staging(owner_folder(uploads, owner)) as place:
        intake = Intake(place, uploads, owner, limit)

        def submit() -> Job:
            return engine.submit(task, intake.request(task, arguments), owner)

        job = await run_in_threadpool(submit)
    context = server.request_context
    token = context.meta.progressToken if context.meta is not None else None
    told, said = 0.0, -1.0
    latest: Job | None = job
    try:
        while latest is not None and not latest.state.final:
            await asyncio.sleep(_LOOK)
            told += _LOOK
            latest = engine.get(job.id, owner)
            moment = latest.progress if latest is not None else None
            if token is not None and moment is not None and told >= _TOLD and moment.done > said:
                told, said = 0.0, moment.done
                await context.session.send_progress_notification(
                    token, moment.done, moment.total, moment.message, str(context.request_id)
                )
    except asyncio.CancelledError:
        with contextlib.suppress(BadInput):  # it has been forgotten meanwhile
            engine.cancel(job.id, owner)
        raise
    if latest is None:
        raise BadInput("job", "was deleted while it ran")
    return latest


def _answer(job: Job, base: str) -> CallToolResult:
    """What a tool answers: the numbers, then each file, whole where it is small and a link where it is not."""
    from mcp.types import CallToolResult, TextContent

    finished = job.result
    if finished is None:
        if job.error is not None:
            words = f"{job.error.field}: {job.error.message}" if job.error.field else job.error.message
        else:
            words = (
                "the run was cancelled"
                if job.state is JobState.CANCELLED
                else "the result has been cleared away"
            )
        return CallToolResult(content=[TextContent(type="text", text=words)], isError=True)
    whole = finished.as_json()
    facts = {name: whole[name] for name in ("task", "metrics", "notes", "nfe", "seconds", "recipe")}
    facts |= {"job": job.id, "artifacts": [item.name for item in finished.artifacts]}
    content: list[ContentBlock] = [TextContent(type="text", text=json.dumps(facts, ensure_ascii=False))]
    return CallToolResult(content=content + _files(job, finished, base), structuredContent=facts)


def _files(job: Job, finished: Finished, base: str) -> list[ContentBlock]:
    import base64
    from urllib.parse import quote

    from mcp.types import EmbeddedResource, ImageContent, ResourceLink, TextResourceContents
    from pydantic import AnyUrl

    found: list[ContentBlock] = []
    for item in finished.artifacts:
        if not item.path.is_file():
            continue
        kind, size = media_type(item.name), item.path.stat().st_size
        where = AnyUrl(f"{base.rstrip('/')}/api/jobs/{job.id}/artifacts/{quote(item.name)}")
        if kind in ("image/png", "image/jpeg", "image/webp") and size <= _SHOWN_IMAGE:
            data = base64.b64encode(item.path.read_bytes()).decode()
            found.append(ImageContent(type="image", data=data, mimeType=kind))
        if kind.startswith("text/") and size <= _SHOWN_TEXT:
            text = item.path.read_text("utf-8", "replace")
            inside = TextResourceContents(uri=where, mimeType=kind, text=text)
            found.append(EmbeddedResource(type="resource", resource=inside))
        else:
            about = item.title or item.kind
            found.append(
                ResourceLink(
                    type="resource_link",
                    uri=where,
                    name=item.name,
                    description=about,
                    mimeType=kind,
                    size=size,
                )
            )
    return found
