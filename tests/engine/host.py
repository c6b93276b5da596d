"""An app to be killed: an engine in a process of its own that takes jobs, a line of JSON each, on standard input.

    python -m tests.engine.host HOME SETTINGS

It prints the id of each job, and ends at the end of its input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from apps.engine.jobs import Engine
from apps.engine.settings import load_settings
from apps.engine.validation import make_request
from domains.registry import find_task


def main(home: str, settings: str) -> None:
    engine = Engine(Path(home), load_settings(environ={}, **json.loads(settings)))
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        task = find_task(asked["task"])
        print(engine.submit(task, make_request(task, asked["fields"]), asked["owner"]).id, flush=True)
    engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
