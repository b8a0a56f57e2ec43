"""`python -m lab.toolchain`: provides the tool chain without the rest of the lab."""

import sys

from lab.errors import LabError
from lab.toolchain import ensure

try:
    ensure()
except LabError as fault:
    sys.exit(str(fault))
