"""`python -m lab.toolchain`: make sure of the tool chain, and nothing else of the lab."""

import sys

from lab.errors import LabError
from lab.toolchain import ensure

try:
    ensure()
except LabError as fault:
    sys.exit(str(fault))
