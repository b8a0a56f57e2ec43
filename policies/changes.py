"""Words a change's effects that are no flows: moves, lost data, images, logins, exceptions, settings.

Note: every text is Markdown. A name is written as it is where it can be a declared one, everything else as
code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from resources.inventory import SHARED, Inventory, Item, Kind

_ANY: Final = Item()


@dataclass(frozen=True, kw_only=True)
class Change:
    """One effect, without a full stop; `leading` are its words in the first paragraph, if any."""

    text: str
    leading: str = ""


def _first(text: str, leading: str = "") -> Change:
    return Change(text=text, leading=leading or text)


def code(value: object) -> str:
    """Return a value as inline code, escaped for a table cell."""
    return f"`{' '.join(str(value).replace('`', chr(39)).replace('|', chr(92) + '|').split())}`"


def plain(name: str) -> str:
    """Return a name as it is where it can be a declared one, else as code."""
    return name if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) else code(name)


def changes(before: Inventory, after: Inventory) -> tuple[Change, ...]:
    """Return the effects of a change, those on services and data first; what `before` lacks is unknown."""
    return tuple(
        each for kind, told in _TOLD.items() if kind in before for each in told(before[kind], after[kind])
    )


Items = Mapping[str, Item]


def _services(before: Items, after: Items) -> Iterator[Change]:
    renamed = _renamed(before, after)
    for name, item in after.items():
        old = before.get(name) or before.get(renamed.get(name, ""))
        yield from _service(name, renamed.get(name, name), old, item)
    for name in sorted(before.keys() - after.keys() - set(renamed.values())):
        yield _first(f"{plain(name)} is removed")
        if before[name].data:
            yield _lost(f"the disk of {plain(name)}", before[name])


def _service(name: str, former: str, old: Item | None, new: Item) -> Iterator[Change]:
    who = plain(name)
    if old is None:
        yield Change(text=f"{who} is new{_traits(new)}")
        if shared := new.traits.get(SHARED):
            yield _shared(who, SHARED, "", shared)
        return
    found = [_first(f"{plain(former)} is called {who} now")] if name != former else []
    found += _moved(who, old, new)
    if old.data and old.identity != new.identity:
        subject = "Its disk" if any(each.leading for each in found) else ""
        found.append(_lost(f"the disk of {who}", old, subject))
    yield from found
    for trait in dict.fromkeys([*old.traits, *new.traits]):
        first, second = old.traits.get(trait, ""), new.traits.get(trait, "")
        if first != second and trait not in _MOVES:
            yield _LEADING.get(trait, _trait)(who, trait, first, second)


def _traits(new: Item) -> str:
    known = [(trait, new.traits[trait]) for trait in _NEW if new.traits.get(trait, "none") != "none"]
    unreached = ", and no flow leads to it or from it" if new.traits.get("flows") == "none" else ""
    return "".join(f", {_end(trait, value)}" for trait, value in known) + unreached


_NEW: Final = ("app", "image", "VLAN", "zone", "networks", "address")
_MOVES: Final = ("VLAN", "zone", "networks", "address")
"""Traits that say where a service is."""


def _moved(who: str, old: Item, new: Item) -> Iterator[Change]:
    """Yield one change for the first trait of a place that differs; the rest is told beside it."""
    moved = [trait for trait in _MOVES if old.traits.get(trait, "") != new.traits.get(trait, "")]
    for trait in moved:
        first, second = old.traits.get(trait, ""), new.traits.get(trait, "")
        if trait == "networks":
            differ = set(first.split(", ")) ^ set(second.split(", "))
            legs = all(re.fullmatch(r"vlan\d+", network) for network in differ)  # they follow from routes
            text = f"{who} {_joined(first, second)}"
            yield Change(text=text) if legs else _first(text)
        elif trait == moved[0]:
            word = {"VLAN": "", "zone": "zone ", "address": "address "}[trait]
            ends = (f"{word}{_end(trait, each)}" for each in (first, second))
            yield _first(f"{who} moves from {' to '.join(ends)}")
        else:
            yield _trait(who, trait, first, second)


def _end(trait: str, value: str) -> str:
    if not value:
        return "none"
    return value if trait == "VLAN" and re.fullmatch(r"(VLAN \d+|no VLAN)", value) else code(value)


def _joined(first: str, second: str) -> str:
    old, new = (set(filter(None, text.split(", "))) for text in (first, second))
    words = [
        f"{verb} {' and '.join(map(plain, sorted(names)))}"
        for verb, names in (("joins", new - old), ("leaves", old - new))
        if names
    ]
    return " and ".join(words) or "is attached to its networks in another way"


def _trait(who: str, trait: str, first: str, second: str) -> Change:
    if trait.startswith(("variable ", "file ")):
        verb = "is added" if not first else "is removed" if not second else "changes"
        kind, _, key = trait.partition(" ")
        return Change(text=f"{kind} {code(key)} of {who} {verb}")
    return Change(text=f"{trait} of {who}: {code(first or 'none')} → {code(second or 'none')}")


def _led(who: str, trait: str, first: str, second: str) -> Change:
    return _first(_trait(who, trait, first, second).text)


def _login(who: str, _trait: str, first: str, second: str) -> Change:
    if not first or not second:  # a route opens or closes, which is a flow
        return Change(text=f"login of {who}: {code(first or 'no route')} → {code(second or 'no route')}")
    return _first(f"the login of {who} was {first} and is {second} now")


def _image(who: str, _trait: str, first: str, second: str) -> Change:
    return _first(f"{who} runs {code(second or 'no image')} instead of {code(first)}")


def _shared(who: str, _trait: str, first: str, second: str) -> Change:
    old, new = (set(filter(None, text.split(", "))) for text in (first, second))
    words = [
        f"{verb} {' and '.join(map(code, sorted(names)))}"
        for verb, names in (("mounts", new - old), ("no longer mounts", old - new))
        if names
    ]
    return _first(f"{who} {' and '.join(words)}, which other services write")


_LEADING: Final[Mapping[str, Callable[[str, str, str, str], Change]]] = {
    "image": _image,
    "login": _login,
    "admin page": _led,
    "observation": _led,
    "app": _led,
    SHARED: _shared,
}


def _renamed(before: Items, after: Items) -> dict[str, str]:
    """Return new name -> old name of services that are the same: one VM id, or one app, image and place."""
    gone = {name: item for name, item in before.items() if name not in after}
    found = {}
    for name, item in after.items():
        same = [old for old, each in gone.items() if _is_same(each, item)]
        if name not in before and len(same) == 1:
            found[name] = same[0]
    return found if len(set(found.values())) == len(found) else {}


def _is_same(old: Item, new: Item) -> bool:
    traits = ("VM id",) if "VM id" in old.traits else ("app", "image", "networks")
    return all(old.traits.get(trait) == new.traits.get(trait) for trait in traits)


def _lost(what: str, old: Item, leading: str = "") -> Change:
    refused = ", which `protect` refuses" if old.protected else ""
    return _first(f"{what} is deleted{refused}", f"{leading or what} is deleted{refused}")


def _volumes(before: Items, after: Items) -> Iterator[Change]:
    for name, old in before.items():
        if after.get(name, _ANY).identity != old.identity:
            yield _lost(f"volume {plain(name)} with its content", old)


def _zones(before: Items, after: Items) -> Iterator[Change]:
    for name in sorted(before.keys() - after.keys()):
        yield Change(text=f"zone {plain(name)} is removed")
    for name, item in after.items():
        traits = item.traits
        if name not in before:
            yield Change(text=f"zone {plain(name)} is new: {', '.join(map(code, traits.values()))}")
            continue
        for trait, first in before[name].traits.items():
            if traits.get(trait) != first:
                yield _led(f"zone {plain(name)}", trait, first, traits.get(trait, ""))


def _flows(before: Items, after: Items) -> Iterator[Change]:
    for name in sorted(before.keys() & after.keys()):
        first, second = before[name].traits["end"], after[name].traits["end"]
        if first != second:
            yield _first(f"the last day of {code(name)} was {first} and is {second} now")


def _unencrypted(before: Items, after: Items) -> Iterator[Change]:
    for name, item in after.items():
        if before.get(name) != item:
            yield Change(text=f"{code(name)} is declared as not encrypted: {code(item.traits['reason'])}")
    for name in sorted(before.keys() - after.keys()):
        yield Change(text=f"{code(name)} is no longer declared as not encrypted")


def _exceptions(before: Items, after: Items) -> Iterator[Change]:
    for name, item in after.items():
        end, why = item.traits["end"], f"{item.traits['owner']}: {item.traits['reason']}"
        if name not in before:
            text = f"new exception until {end}: {code(name)}"
            yield _first(f"{text} ({code(why)})", text)
            continue
        first = before[name].traits
        if first["end"] != end:
            verb = "prolonged" if first["end"] < end else "shortened"
            yield _first(f"exception {code(name)} is {verb} from {first['end']} to {end}")
        elif first != item.traits:
            yield Change(text=f"exception {code(name)} has another reason or owner: {code(why)}")
    for name in sorted(before.keys() - after.keys()):
        yield _first(f"exception {code(name)} is removed")


def _assertions(before: Items, after: Items) -> Iterator[Change]:
    for name in sorted(before.keys() - after.keys()):
        yield _first(f"no longer tested: {code(name)}")
    for name in sorted(after.keys() - before.keys()):
        yield Change(text=f"newly tested: {code(name)}")


def _settings(before: Items, after: Items) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        first, second = before.get(name), after.get(name)
        if first == second:
            continue
        if name == "protect" and second:
            verb = "is" if second.traits["value"] == "true" else "is no longer"
            yield _first(f"data {verb} protected from deletion")
        elif any("closed" in item.traits for item in (first, second) if item):
            yield from _closed(name, first or _ANY, second or _ANY)
        else:
            verb = "is added" if first is None else "is removed" if second is None else "changes"
            yield Change(text=f"setting {code(name)} {verb}")


def _closed(name: str, old: Item, new: Item) -> Iterator[Change]:
    """Yield a host that is closed or opened; a new or removed host is reported by what is on it."""
    if {old.traits.get("closed"), new.traits.get("closed")} == {"true", "false"}:
        yield _first(
            f"{plain(name)} is closed: only declared flows reach its own programs from outside"
            if new.traits["closed"] == "true"
            else f"{plain(name)} is no longer closed: its own programs answer from outside"
        )


def _secrets(before: Items, after: Items) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            there = name in before, name in after
            verb = {(False, True): "is added", (True, False): "is removed"}.get(there, "is written anew")
            yield _first(f"the secret {code(name)} {verb}")


_TOLD: Final[Mapping[Kind, Callable[[Items, Items], Iterator[Change]]]] = {
    Kind.SERVICE: _services,
    Kind.VOLUME: _volumes,
    Kind.EXCEPTION: _exceptions,
    Kind.SECRET: _secrets,
    Kind.ZONE: _zones,
    Kind.FLOW: _flows,
    Kind.UNENCRYPTED: _unencrypted,
    Kind.ASSERTION: _assertions,
    Kind.SETTING: _settings,
}
"""Kind of item -> how its changes are told, the most important first."""
