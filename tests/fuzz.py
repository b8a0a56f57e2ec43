"""Broken stack files, files, states, Compose files and answers of hosts, for the pack and every command.

`python -m tests.fuzz [number] [seed] [first]` tries that many, the first one by its number. Each case changes
a sound input at random: a value, a key, or the text itself. Findings and refusals are right answers; an
exception, a rule that fails, and a case that takes long or much memory are not.
"""

from __future__ import annotations

import copy
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from policies.evaluate import EvaluatedResource, evaluate_resource, evaluate_together
from resources.resource import Resource, StateError, from_state
from resources.site import Graph
from tests import fuzz_commands
from tests.fuzz_changes import changed, spoiled
from tests.policies.sound import TODAY, sound
from tests.site import FILE
from topology.config import ConfigError, from_file, load
from topology.fast_yaml import Loader
from topology.index import TopologyIndex

SEED = 20261130
LONGEST = 2.0
"""Seconds of processor time that a case may take; the usual one takes some milliseconds."""
LARGEST = 250
"""Mebibytes by which a case may raise the most memory that the process has had."""
_EVERY = 40
"""Every so many cases the whole stack is judged, which takes a hundred times as long as one resource."""


def stack(draw: random.Random, folder: Path) -> str:
    """Read a broken stack file; returns what came of it."""
    file = folder / draw.choice(("Pulumi.dev.yaml", "stack", "Pulumi.yaml", ".yaml"))
    text = _stack_text()
    if draw.random() < 0.5:
        text = spoiled(draw, text)
    else:
        text = yaml.dump(changed(draw, _stack_tree()), Dumper=_DUMPER, allow_unicode=True)
    file.write_bytes(text.encode(errors="surrogatepass"))
    try:
        from_file(file)
    except ConfigError as error:
        lines = str(error).splitlines()
        form = lines and all(": " in line and line.endswith(".") for line in lines)
        return "refused" if form else f"refused without a path: {lines}"
    return "accepted"


def files(draw: random.Random, _: Path) -> str:
    """Judge a container with a broken file, or any resource with broken inputs; returns what came of it."""
    resources = _resources()
    place = draw.choice([i for i, each in enumerate(resources) if each.inputs])
    found = draw.choice(_uploaded()) if draw.random() < 0.6 else None
    if found is None:
        inputs = json.loads(json.dumps(changed(draw, dict(resources[place].inputs)), default=str))
    else:
        place, index = found
        inputs = copy.deepcopy(dict(resources[place].inputs))
        given = inputs["uploads"][index]
        if draw.random() < 0.5 or not given["file"].endswith((".yml", ".yaml")):
            given["content"] = spoiled(draw, given["content"])
        else:
            tree = yaml.load(given["content"], Loader=Loader)  # noqa: S506  # a safe loader
            given["content"] = yaml.dump(changed(draw, tree), Dumper=_DUMPER, allow_unicode=True)
    old = resources[place]
    new = type(old)(**{**vars(old), "inputs": inputs})
    mine = evaluate_resource(new, _declared())
    return _verdict(draw, [mine, *(each for each in _judged() if each.view.resource.urn != old.urn)], mine)


def state(draw: random.Random, folder: Path) -> str:
    """Read and judge a broken state; returns what came of it."""
    file = folder / "state.json"
    few = draw.sample(_state_resources(), 3)
    tree = {"version": 3, "deployment": {"resources": few}}
    text = json.dumps(changed(draw, tree), default=str)
    file.write_text(spoiled(draw, text) if draw.random() < 0.3 else text, encoding="utf-8", errors="replace")
    try:
        resources = from_state(file)
    except StateError as error:
        return "refused" if str(error).startswith(f"{file}: ") else f"refused without a path: {error}"
    judged = [evaluate_resource(each, _declared()) for each in resources]
    urns = {each.urn for each in resources}
    others = [each for each in _judged() if each.view.resource.urn not in urns]
    return _verdict(draw, [*judged, *others], *judged)


def _verdict(draw: random.Random, stack: list[EvaluatedResource], *mine: EvaluatedResource) -> str:
    """Judge the resources alone or, now and then, the whole stack; a rule that fails is an error."""
    findings = [finding for each in mine for finding in each.findings]
    if draw.randrange(_EVERY) == 0:
        findings = [*evaluate_together(stack, _declared(), TODAY).findings]
    else:
        _ = Graph(tuple(each.view for each in stack), _declared()).facts
    fuzz_commands.none_failed(findings)
    return "found" if findings else "accepted"


_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
KINDS: dict[str, Callable[[random.Random, Path], str]] = {
    "stack": stack,
    "file": files,
    "state": state,
    **fuzz_commands.KINDS,
}


@cache
def _resources() -> list[Resource]:
    return sound().resources


@cache
def _stack_text() -> str:
    return FILE.read_text(encoding="utf-8")


@cache
def _stack_tree() -> Any:
    return yaml.safe_load(_stack_text())


@cache
def _declared() -> TopologyIndex:
    return TopologyIndex.of(load(sound().config))


@cache
def _judged() -> list[EvaluatedResource]:
    return [evaluate_resource(each, _declared()) for each in sound().resources]


@cache
def _uploaded() -> list[tuple[int, int]]:
    return [
        (place, index)
        for place, each in enumerate(sound().resources)
        for index, upload in enumerate(each.inputs.get("uploads") or ())
        if upload["file"].endswith((".yml", ".yaml", ".conf"))
    ]


@cache
def _state_resources() -> list[dict[str, Any]]:
    return [
        {"urn": each.urn, "type": each.type, "inputs": each.inputs, "provider": f"{each.provider}::1"}
        for each in sound().resources
    ]


_WARM = 100
"""Cases after which all that is kept for later cases is there."""


def _memory() -> float:
    """Return the most mebibytes that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(number: int, seed: int = SEED, first: int = 0) -> tuple[Counter[str], list[str], float]:
    """Try a number of cases; returns how many ended how, the failures, and the longest case's seconds."""
    ended: Counter[str] = Counter()
    _judged()  # is not part of the first case
    failures, longest = [], 0.0
    with TemporaryDirectory() as folder:
        for index in range(first, first + number):
            draw = random.Random(seed * 1_000_000 + index)  # noqa: S311  # an input, not a secret
            kind = draw.choice([*KINDS])
            start, before = time.process_time(), _memory()
            try:
                ended[f"{kind} {KINDS[kind](draw, Path(folder))}"] += 1
            except Exception as error:  # noqa: BLE001  # any of them is what this looks for
                failures.append(f"{index} {kind}: {type(error).__name__}: {str(error)[:300]}")
            seconds = time.process_time() - start
            longest = max(longest, seconds)
            if seconds > LONGEST:
                failures.append(f"{index} {kind}: took {seconds:.1f} s")
            if _memory() - before > LARGEST and index > first + _WARM:
                failures.append(f"{index} {kind}: took {_memory() - before:.0f} MiB")
    return ended, failures, longest


def main() -> int:
    """Print the counts and every failure; returns 1 if there are any."""
    words = (*sys.argv[1:], *("1000", str(SEED), "0")[len(sys.argv) - 1 :])
    number, seed, first = map(int, words)
    start = time.monotonic()
    ended, failures, longest = run(number, seed, first)
    print(*failures, sep="\n")
    print(f"seed {seed}: {number} cases in {time.monotonic() - start:.0f} s, the longest {longest:.1f} s")
    print(
        *(f"  {how}: {count}" for how, count in sorted(ended.items())), f"  failed: {len(failures)}", sep="\n"
    )
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
