"""Values written as the text that configuration files hold."""

from typing import Any

import yaml


class _Plain(yaml.SafeDumper):
    """Writes a value that stands in two places twice, as a person would."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's signature
        return True


def as_yaml(value: Any) -> str:
    """YAML in the order given, so that an unchanged value is an unchanged file."""
    return yaml.dump(value, Dumper=_Plain, sort_keys=False, width=1000)


class _Blocks(_Plain):
    """Writes text of several lines as it is."""


_Blocks.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def as_blocks(value: Any) -> str:
    """YAML like `as_yaml`'s, for files that hold other files and are read by people."""
    return yaml.dump(value, Dumper=_Blocks, sort_keys=False, width=1000)
