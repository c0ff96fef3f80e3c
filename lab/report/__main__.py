"""``python -m lab.report`` is ``lab report``."""

import sys

from lab.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
