"""Sets of IPv4 addresses as sorted, disjoint spans of integers.

Owns the set operations that rules are evaluated with. It deliberately knows no rule. What a reader would get
wrong: a span includes both its ends.
"""

from ipaddress import IPv4Network

from topology.prefixes import SPECIAL

Spans = tuple[tuple[int, int], ...]

ALL: Spans = ((0, 2**32 - 1),)
NONE: Spans = ()


def prefix(network: IPv4Network) -> Spans:
    """Return the addresses of a prefix."""
    return ((int(network.network_address), int(network.broadcast_address)),)


def join(left: Spans, right: Spans) -> Spans:
    """Return what is in either."""
    if not left or not right or ALL in (left, right):
        return ALL if ALL in (left, right) else left or right
    joined: list[tuple[int, int]] = []
    for low, high in sorted((*left, *right)):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    return tuple(joined)


def meet(left: Spans, right: Spans) -> Spans:
    """Return what is in both."""
    if ALL in (left, right):
        return right if left == ALL else left
    return tuple(
        (max(low, other), min(high, last))
        for low, high in left
        for other, last in right
        if max(low, other) <= min(high, last)
    )


def cut(left: Spans, right: Spans) -> Spans:
    """Return what is in `left` alone."""
    for low, high in right:
        left = tuple(
            part
            for first, last in left
            for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if part[0] <= part[1]
        )
    return left


def holds(spans: Spans, address: int) -> bool:
    """Whether the address is in the set."""
    return any(low <= address <= high for low, high in spans)


def public(networks: tuple[IPv4Network, ...]) -> Spans:
    """Return the internet's addresses: all but the special ones (RFC 6890) and the site's own `networks`."""
    spans = ALL
    for network in (*SPECIAL, *networks):
        spans = cut(spans, prefix(network))
    return spans
