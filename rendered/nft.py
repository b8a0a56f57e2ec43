"""Parts of nftables rules that several of Docker-SRV's tables have."""

from collections.abc import Iterable


def elements(found: Iterable[str]) -> str:
    """Return a set's line of elements, sorted and each once; empty if there are none."""
    lines = "".join(f"      {each},\n" for each in sorted({*found}))
    return f"    elements = {{\n{lines}    }}\n" if lines else ""
