"""Special-purpose IPv4 prefixes, as defined by IANA and RFCs."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

_RESERVED = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/3"
)
DOCUMENTATION = tuple(map(IPv4Network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")))
"""Prefixes reserved for documentation (RFC 5737); the live probe uses them for its simulated internet."""
SPECIAL = tuple(map(IPv4Network, _RESERVED.split()))
"""Prefixes that are not part of the public internet (IANA's special-purpose registry, RFC 6890)."""


def nearby(special: Sequence[IPv4Network], own: Iterable[IPv4Network]) -> tuple[IPv4Network, ...]:
    """Return the special-purpose prefixes, and those of a site's own that none of them contains."""
    return (*special, *(prefix for prefix in own if not any(map(prefix.subnet_of, special))))


def without_host_bits(text: object) -> IPv4Network | None:
    """Return the network of a prefix that may have host bits set; None for anything else."""
    try:
        return IPv4Network(text, strict=False) if isinstance(text, str) else None
    except ValueError:
        return None
