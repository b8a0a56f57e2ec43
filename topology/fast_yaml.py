"""A YAML loader that parses in C, for stack files and the files in containers.

Note: PyYAML's own C loader composes in C as well, where deep nesting ends the process.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import Composer

if yaml.__with_libyaml__:

    class Loader(Composer, yaml.CSafeLoader):
        """SafeLoader with libyaml's parser; raises RecursionError when nested too deep."""

        def __init__(self, stream: Any) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            Composer.__init__(self)

else:
    Loader = yaml.SafeLoader  # type: ignore[misc,assignment]
