"""The one entry: without arguments it opens the app; `python launch.py --help` lists the commands."""

import sys

from apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
