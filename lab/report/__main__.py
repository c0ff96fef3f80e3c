"""``python -m lab.report`` is ``lab report``."""

import sys

from lab.system.signals import run_watched


def main() -> int:
    """Run the command line; nothing slow is imported before the signal handlers are set."""

    def command() -> int:
        from lab.cli.main import main

        return main(["report", *sys.argv[1:]])

    return run_watched(command)


if __name__ == "__main__":
    sys.exit(main())
