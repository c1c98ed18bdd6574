"""Run the command `chestxray` where it is not installed: `python -m chestxray`."""

import sys

from chestxray.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
