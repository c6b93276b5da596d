"""argparse with our manners: one-line errors as `BadInput`, `-` and `_` alike in flags, no abbreviations."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from domains.common.errors import BadInput


class Parser(argparse.ArgumentParser):
    """The parser of one command.

    Args:
        command: Its name.
        summary: What it does.
    """

    def __init__(self, command: str, summary: str) -> None:
        super().__init__(prog=f"python launch.py {command}", description=summary, allow_abbrev=False)

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses `arguments`.

        Raises:
            BadInput: Naming the flag that is at fault.
        """
        return self.parse_args([dashed(argument) for argument in arguments])

    def error(self, message: str) -> NoReturn:
        if found := re.match(r"unrecognized arguments: (\S+)", message):
            raise self._unknown(found[1])
        if found := re.match(r"argument (.+?): (.*)", message, re.DOTALL):
            raise BadInput(found[1].split("/")[-1].lstrip("-"), found[2])
        if found := re.match(r"the following arguments are required: (.*)", message):
            raise BadInput(found[1].lower(), f"is required; see {self.prog} --help")
        raise BadInput("arguments", message)

    def _unknown(self, argument: str) -> BadInput:
        flags = sorted(self._option_string_actions)
        close = difflib.get_close_matches(argument.split("=")[0], flags, n=1, cutoff=0.5)
        mend = f"did you mean {close[0]}?" if close else f"see {self.prog} --help"
        what = "unknown flag" if argument.startswith("-") else "unexpected argument"
        return BadInput(argument.lstrip("-")[:60] or argument, f"{what}; {mend}")


def dashed(argument: str) -> str:
    """`--root_path=x_y` as `--root-path=x_y`; anything but a long flag as it is."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value
