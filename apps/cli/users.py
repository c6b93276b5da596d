"""`launch.py users [list | add NAME | remove NAME]`: who may log in to the app."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from apps.cli.parser import Parser
from domains.common.errors import BadInput


def main(arguments: Sequence[str]) -> int:
    """Lists users, adds one (or changes the password), or removes one."""
    parser = Parser("users", "Lists, adds or removes those who may log in to the app.")
    parser.add_argument("action", nargs="?", default="list", choices=("list", "add", "remove"))
    parser.add_argument("name", nargs="?", help="small letters, digits and . _ -")
    parser.add_argument("--home", type=Path, help="folder of the app (default: LANGEVIN_HOME)")
    parser.add_argument("--file", type=Path, help="file of users (default: users.toml in the home folder)")
    chosen = parser.read(arguments)
    from apps.engine.settings import load_settings
    from apps.web.exposure import users_file
    from apps.web.users import check_name, hash_password, read_users, write_users

    file = users_file(load_settings(home=chosen.home, users_file=chosen.file))
    hashes = read_users(file)
    if chosen.action == "list":
        if chosen.name is not None:
            raise BadInput("name", "list takes no name; see python launch.py users --help")
        print("\n".join(sorted(hashes)) or "no users; add one with: python launch.py users add NAME")
        return 0
    if chosen.name is None:
        raise BadInput("name", f"is required: python launch.py users {chosen.action} NAME")
    name = check_name(chosen.name)
    if chosen.action == "remove":
        if name not in hashes:
            raise BadInput("name", f"there is no user {name}")
        del hashes[name]
        write_users(file, hashes)
        print(f"removed {name}; a running app forgets them when it is restarted")
        return 0
    known = name in hashes
    hashes[name] = hash_password(_password())
    write_users(file, hashes)
    print(f"{'changed the password of' if known else 'added'} {name} in {file}; restart a running app")
    return 0


def _password() -> str:
    """A password, typed twice on a terminal, or the first line of a pipe."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password (at least 10 characters): ")
    if getpass.getpass("Again: ") != first:
        raise BadInput("password", "the two are not the same; try again")
    return first
