"""Where the lab keeps things; every folder is made on first use.

Owns the four roots and nothing below them. Cache is safe to delete at any time; state holds the Pulumi
state and the lab's keys; run time lives until `make down` or a reboot; data is the lab engine's own root.
"""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("HOMELAB_CACHE", Path.home() / ".cache/homelab-network"))
STATE = Path(os.environ.get("HOMELAB_STATE", Path.home() / ".local/state/homelab-network"))
RUN = Path("/run/homelab-network")
DATA = Path("/var/lib/homelab-network")
