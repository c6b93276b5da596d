"""Finds the command, runs it, and turns errors into one line and an exit status.

Exit status: 0 done (for `replay`: reproduces), 1 failed, 2 bad input, 3 a library is missing,
130 interrupted.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from domains.common.errors import BadInput, Cancelled, MissingLibrary

# command -> (module, one line of help); the modules are light, and imported only when called.
COMMANDS: dict[str, tuple[str, str]] = {
    "app": ("apps.cli.app", "open the app in the browser (also without a command)"),
    "tasks": ("apps.cli.tasks", "list every task with its fields"),
    "run": ("apps.cli.run", "run a task on your files"),
    "sweep": ("apps.cli.sweep", "run a task over a grid of values: table and picture"),
    "replay": ("apps.cli.replay", "make an artifact again from its recipe and compare"),
    "train": ("apps.cli.train", "train or fine-tune a model"),
    "fit-grid": ("apps.cli.fit_grid", "fit a model's own time grids for few evaluations"),
    "eval": ("apps.cli.evaluate", "print a task's metrics beside its baselines"),
    "models": ("apps.cli.models", "list models, show a card, verify, get from the hub, remove"),
    "users": ("apps.cli.users", "list, add or remove those who may log in to the app"),
    "doctor": ("apps.cli.doctor", "say what is installed, what can run, what is missing"),
    "bench": ("apps.cli.bench", "list benchmarks or run one"),
}
# What is left of a command that was stopped; nothing, where it is not named.
KEPT = {
    "train": "go on from the last checkpoint with --resume",
    "fit-grid": "the grids that were done are on the card",
    "models": "what has come stays; the same command goes on from there",
    "sweep": "the runs that were done lie under cells",
}
BAD_INPUT, MISSING_LIBRARY, INTERRUPTED = 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        The exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter shows ? instead of failing
    passes_through = arguments[:1] == ["bench"]  # a benchmark's arguments are its own
    debug = not passes_through and "--debug" in arguments
    if debug:
        arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")  # stderr speaks to a person; --debug shows what libraries say
            return _dispatch(arguments)
    except BadInput as error:
        return _fail(debug, f"error: {error.field}: {error.message}", BAD_INPUT)
    except MissingLibrary as error:
        return _fail(debug, f"error: {error}", MISSING_LIBRARY)
    except (KeyboardInterrupt, Cancelled):
        kept = KEPT.get("".join(arguments[:1]), "nothing was written")
        return _fail(debug, f"cancelled: {kept}", INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from apps.engine.failure import describe_crash

        return _fail(debug, f"error: {describe_crash(error)} (add --debug to see where)", 1)


def usage() -> str:
    """The text of `--help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python launch.py [COMMAND] [--help] [--debug]",
            "",
            "Langevin: one diffusion core and many domains.  Without a command the app opens.",
            "",
            *lines,
            "",
            "python launch.py COMMAND --help says what a command takes.",
        ]
    )


def _dispatch(arguments: list[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments and arguments[0] in ("-V", "--version"):
        from apps.engine.environment import langevin_version

        print(langevin_version())
        return 0
    if not arguments or arguments[0].startswith("-"):
        arguments = ["app", *arguments]
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        mend = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}"
        raise BadInput("command", f"no command {name[:60]!r}; {mend}")
    status: int = importlib.import_module(COMMANDS[name][0]).main(rest)
    return status


def _fail(debug: bool, line: str, status: int) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)
    return status
