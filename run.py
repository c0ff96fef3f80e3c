"""Compose the config and hand it to lab: ``python run.py --help`` says what can be asked for."""

import sys

from lab.launch.parent import main

if __name__ == "__main__":
    sys.exit(main())
