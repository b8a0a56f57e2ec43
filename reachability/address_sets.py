"""Set operations on IPv4 addresses, as sorted, disjoint spans of integers.

Note: a span includes both its ends.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from ipaddress import IPv4Network

from topology.prefixes import SPECIAL

IPSet = tuple[tuple[int, int], ...]

ALL: IPSet = ((0, 2**32 - 1),)
NONE: IPSet = ()


def prefix(network: IPv4Network) -> IPSet:
    """Return the addresses of a prefix."""
    return ((int(network.network_address), int(network.broadcast_address)),)


def union(left: IPSet, right: IPSet) -> IPSet:
    """Return the union of two sets."""
    if not left or not right or ALL in (left, right):
        return ALL if ALL in (left, right) else left or right
    return _merge(sorted((*left, *right)))


def union_all(sets: Iterable[IPSet]) -> IPSet:
    """Return the union of any number of sets; all spans are sorted once."""
    found = [spans for spans in sets if spans]
    return found[0] if len(found) == 1 else _merge(sorted(span for spans in found for span in spans))


def nested(entries: Iterable[tuple[int, int, bool]]) -> IPSet:
    """Return the addresses whose narrowest containing entry is True.

    An entry is its first and last address, both included, and its mark. Entries are disjoint or nested.
    """
    found: list[tuple[int, int]] = []
    around: list[tuple[int, bool]] = []  # ends and marks of the entries that hold `at`, the widest first
    at = 0
    for low, high, inside in sorted(entries, key=lambda entry: (entry[0], -entry[1])):
        at = _close(around, found, at, low)
        if around and around[-1][1]:
            found.append((at, low - 1))
        at = low
        around.append((high, inside))
    _close(around, found, at, 2**32)
    return _merge(span for span in found if span[0] <= span[1])


def _close(around: list[tuple[int, bool]], found: list[tuple[int, int]], at: int, before: int) -> int:
    """Pop the entries that end before `before`; return the first address after the popped entries."""
    while around and around[-1][0] < before:
        high, inside = around.pop()
        if inside:
            found.append((at, high))
        at = max(at, high + 1)
    return at


def intersection(left: IPSet, right: IPSet) -> IPSet:
    """Return the intersection of two sets."""
    if ALL in (left, right):
        return right if left == ALL else left
    if len(left) > len(right):
        left, right = right, left
    found: list[tuple[int, int]] = []
    for low, high in left:
        first, after = bisect_left(right, low, key=_end), bisect_right(right, high, key=_start)
        if first < after:
            # Only the first and last of the spans that overlap this one can extend beyond it.
            begin, end = len(found), after - 1
            found += right[first:after]
            found[begin] = max(low, found[begin][0]), found[begin][1]
            found[-1] = found[-1][0], min(high, right[end][1])
    return tuple(found)


def difference(left: IPSet, right: IPSet) -> IPSet:
    """Return the addresses of `left` that are not in `right`."""
    return intersection(left, _without(right)) if right else left


def contains(spans: IPSet, address: int) -> bool:
    """Whether the address is in the set."""
    at = bisect_right(spans, address, key=_start)
    return at > 0 and address <= spans[at - 1][1]


def _without(spans: IPSet) -> IPSet:
    """Return the complement of the set."""
    starts = (0, *(high + 1 for _, high in spans))
    ends = (*(low - 1 for low, _ in spans), ALL[0][1])
    return tuple((low, high) for low, high in zip(starts, ends, strict=True) if low <= high)


def _merge(spans: Iterable[tuple[int, int]]) -> IPSet:
    """Return sorted spans, with overlapping and adjacent ones merged."""
    merged: list[tuple[int, int]] = []
    for low, high in spans:
        if merged and low <= merged[-1][1] + 1:
            if high > merged[-1][1]:
                merged[-1] = merged[-1][0], high
        else:
            merged.append((low, high))
    return tuple(merged)


def _start(span: tuple[int, int]) -> int:
    return span[0]


def _end(span: tuple[int, int]) -> int:
    return span[1]


def public(networks: tuple[IPv4Network, ...]) -> IPSet:
    """Return the internet's addresses: all but the special ones (RFC 6890) and the site's own `networks`."""
    return difference(ALL, union_all(map(prefix, (*SPECIAL, *networks))))
