"""The project's root folder and name."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
NAME = "homelab-network"
"""The project's name, as in Pulumi.yaml."""


def stack_name(file: Path | str) -> str:
    """Return the stack of `Pulumi.<stack>.yaml`, or the file's own name where it has another form."""
    parts = [part for part in Path(file).name.split(".") if part]
    return parts[1] if len(parts) > 1 else "".join(parts)
