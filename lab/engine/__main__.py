"""Start or stop the lab's engine by hand: `python -m lab.engine up|down`."""

import sys

from lab.engine import main

sys.exit(main(sys.argv[1:]))
