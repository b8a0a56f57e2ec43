"""Serialises values as YAML for configuration files."""

from typing import Any

import yaml


class _Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """YAML dumper without anchors and aliases: a value used twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's signature
        return True


def as_yaml(value: Any) -> str:
    """Return YAML in the given key order, so that an unchanged value produces an unchanged file."""
    return yaml.dump(value, Dumper=_Plain, sort_keys=False, width=1000)


class _Blocks(_Plain):
    """YAML dumper that writes multi-line text as literal blocks."""


_Blocks.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def as_blocks(value: Any) -> str:
    """Return YAML like `as_yaml`'s with multi-line text as literal blocks, for files that embed files."""
    return yaml.dump(value, Dumper=_Blocks, sort_keys=False, width=1000)
