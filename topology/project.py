"""Where the project's own files are, and its name."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
NAME = "homelab-network"
"""The project's, as in Pulumi.yaml."""
