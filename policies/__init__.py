"""The rules that prove a stack from its resources, and who asks them: an engine, a command, a test."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
NAME = "homelab-network"
"""The project's, as in Pulumi.yaml."""
