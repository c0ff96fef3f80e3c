"""``python -m lab`` and the console script ``lab`` are ``python run.py``."""

import sys

from lab.system.signals import run_watched


def main() -> int:
    """Run the command line; nothing slow is imported before the signal handlers are set."""

    def command() -> int:
        from lab.cli.main import main

        return main()

    return run_watched(command)


if __name__ == "__main__":
    sys.exit(main())
