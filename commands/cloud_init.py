"""Write the cloud-init files of guests with an app.

`python -m commands cloud-init Pulumi.home.yaml` writes cloud-init-home/<guest>.yaml for each guest with an
app. Exit status: 0 written, 2 bad input and nothing written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rendered.cloud_init import cloud_config
from topology.config import ConfigError, Fault, from_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one stack's files; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m commands cloud-init", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("file", type=Path, help="Pulumi.<stack>.yaml")
    file = parser.parse_args(arguments).file
    try:
        topology = from_file(file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    texts = {
        guest.name: cloud_config(topology, guest) for guest in topology.guests if topology.user_data(guest)
    }
    if not texts:
        print(
            Fault(file.name, "no guest sets itself up", "give one app: wordpress, or an app and an image"),
            file=sys.stderr,
        )
        return 2
    folder = Path(f"cloud-init-{file.name.removeprefix('Pulumi.').removesuffix('.yaml')}")
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        path = folder / f"{topology.physical(name)}.yaml"
        path.write_text(text, encoding="utf-8")
        print(path)
    return 0
