"""The project's root folder and name."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
NAME = "homelab-network"
"""The project's name, as in Pulumi.yaml."""
