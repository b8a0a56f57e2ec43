"""The lab's four root folders; each is made on first use.

CACHE is safe to delete at any time. STATE holds the Pulumi state and the lab's keys. RUN lasts until
`make down` or a reboot. DATA is the root of the lab's engine.
"""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("HOMELAB_CACHE", Path.home() / ".cache/homelab-network"))
STATE = Path(os.environ.get("HOMELAB_STATE", Path.home() / ".local/state/homelab-network"))
RUN = Path("/run/homelab-network")
DATA = Path("/var/lib/homelab-network")
