"""Serves the policy pack to Pulumi's engine."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the engine starts this folder

from policies.server import serve

serve()
