"""Compose the config and hand it to lab: ``python run.py --help`` says what can be asked for."""

import sys

from lab.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
