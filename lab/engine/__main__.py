"""Starts or stops the lab's engine from the command line: `python -m lab.engine up|down`."""

import sys

from lab.engine import main

sys.exit(main(sys.argv[1:]))
