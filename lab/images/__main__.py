"""`python -m lab.images`: makes every image present in the lab's engine where it runs, else in the user's."""

import sys

from lab import engine, images
from lab.errors import LabError

try:
    images.ensure(engine.endpoint(), print)
except LabError as fault:
    sys.exit(str(fault))
