"""A copy of the project in its own folder, with a program, a stack file and a state for one measurement."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab import toolchain
from lab.__main__ import PASSPHRASE
from topology.project import PROJECT

_PARTS = ("components", "topology", "rendered", "reachability", "resources", "policies", "Pulumi.yaml")


def project(folder: Path, config: Mapping[str, Any], main: Path = PROJECT / "__main__.py") -> dict[str, str]:
    """Copy the project, with `config` over the dev stack's file; returns the environment for Pulumi."""
    for part in _PARTS:
        source = PROJECT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    shutil.copy(main, folder / "__main__.py")
    (folder / ".venv").symlink_to(PROJECT / ".venv")
    stack = yaml.safe_load((PROJECT / "Pulumi.dev.yaml").read_text(encoding="utf-8"))
    stack["config"] |= config
    (folder / "Pulumi.dev.yaml").write_text(yaml.safe_dump(stack, sort_keys=False), encoding="utf-8")
    (folder / "state").mkdir()
    environment = dict(os.environ) | toolchain.environment()
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as for a user, whose second run finds compiled files
    environment |= {
        "PULUMI_BACKEND_URL": f"file://{folder}/state",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PROXMOX_VE_API_TOKEN": "root@pam!bench=00000000-0000-0000-0000-000000000000",
    }
    subprocess.run(
        ["pulumi", "stack", "init", "dev"], cwd=folder, env=environment, check=True, capture_output=True
    )
    return environment
