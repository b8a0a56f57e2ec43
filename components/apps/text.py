"""Values written as the text that configuration files hold."""

from typing import Any

import yaml


def as_yaml(value: Any) -> str:
    """YAML in the order given, so that an unchanged value is an unchanged file."""
    return yaml.safe_dump(value, sort_keys=False, width=1000)
