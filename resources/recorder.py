"""Records the resources of a Pulumi program without an event loop: each is registered when it is made.

The SDK's classes stay as they are, so options, parents and types are checked by the SDK. What it does in
tasks (outputs, registrations) is replaced while the program runs: an output holds its value.

Note: no value is unknown here, since a resource's outputs are its inputs and what `made` adds. A use of an
output that is not replaced raises, because a `Known` has no future. `tests/unit/test_program.py` compares
the resources with those of the SDK's own mocks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, Final, Never, cast

import pulumi
from pulumi import _types
from pulumi import resource as sdk
from pydantic import alias_generators

from resources.resource import Resource, Trail
from topology.project import NAME

Made = Callable[[str, str], Mapping[str, Any]]
"""Outputs beside a resource's inputs, by its type and name; their names are those of the provider."""


class Known(pulumi.Output[Any]):
    """An output whose value is there."""

    def __init__(self, value: Any, *, secret: bool = False) -> None:
        self.value, self.secret_ = value, secret

    def apply(self, func: Callable[[Any], Any], run_with_unknowns: bool = False) -> Known:  # noqa: ARG002  # the SDK's signature
        """Return the output of a function of the value."""
        return _known(func(self.value), secret=self.secret_)


def _known(value: Any, *, secret: bool = False) -> Known:
    """Return a value as an output, secret if an output in it is."""
    held: list[Known] = []
    return Known(_bare(value, held), secret=secret or any(each.secret_ for each in held))


def _bare(value: Any, held: list[Known]) -> Any:
    """Return a value without outputs, which are added to `held`."""
    if isinstance(value, Known):
        held.append(value)
        return value.value
    if isinstance(value, Mapping):
        return {key: _bare(each, held) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_bare(each, held) for each in value]
    return value


_STATIC: Final[Mapping[str, Callable[..., Known]]] = {
    "from_input": _known,
    "secret": lambda value: _known(value, secret=True),
    "unsecret": lambda value: Known(_known(value).value),
    "all": lambda *values, **named: _known([*values] or named),
    "concat": lambda *values: _known([*values]).apply(lambda found: "".join(map(str, found))),
    "json_dumps": lambda value, **more: _known(value).apply(lambda found: json.dumps(found, **more)),
}
"""Functions of `pulumi.Output` while a program is recorded."""


def _unanswered(*_: Any, **__: Any) -> Never:
    raise pulumi.RunError("the answer of a provider can't be known; name the value instead.")


@dataclass(kw_only=True)
class Recorder:
    """The resources so far. `providers` are URNs of default providers by package."""

    stack: str
    made: Made
    providers: Mapping[str, str]
    kept: list[Resource] = field(default_factory=list)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Replace what the SDK does in tasks; not for two threads at a time."""
        runtime = pulumi.runtime
        unanswered = dict.fromkeys(("invoke", "invoke_async", "invoke_output", "call"), _unanswered)
        replaced: list[tuple[Any, Mapping[str, Any]]] = [
            (pulumi.Output, {name: staticmethod(function) for name, function in _STATIC.items()}),
            (sdk, {"register_resource": self._register, "register_resource_outputs": lambda *_: None}),
            (sdk, {"read_resource": _unanswered, "get_resource": _unanswered}),
            (runtime, unanswered),
        ]
        before = [(owner, name, vars(owner)[name]) for owner, names in replaced for name in names]
        try:
            for owner, names in replaced:
                for name, function in names.items():
                    setattr(owner, name, function)
            yield
        finally:
            for owner, name, function in before:
                setattr(owner, name, function)

    def _register(  # noqa: PLR0917  # the SDK's signature
        self,
        resource: pulumi.Resource,
        kind: str,
        name: str,
        custom: bool,
        _remote: bool,
        _dependency: Any,
        props: Mapping[str, Any],
        opts: pulumi.ResourceOptions,
        typ: type | None = None,
        _package: Any = None,
    ) -> None:
        """Record a resource, and give it its outputs (the SDK's `register_resource`)."""
        parents = [_value(opts.parent.urn).split("::")[2]] if opts.parent else []
        urn = f"urn:pulumi:{self.stack}::{NAME}::{'$'.join([*parents, kind])}::{name}"
        secrets: set[Trail] = set()
        names = _names(typ) if typ else {}
        inputs = {
            names.get(key, key): _serialized(value, (names.get(key, key),), secrets)
            for key, value in props.items()
            if value is not None
        }
        self.kept.append(
            Resource(
                urn=urn,
                type=kind,
                name=name,
                inputs=inputs,
                secrets=frozenset(secrets),
                provider=self._provider(kind, opts) if custom else "",
                protect=bool(opts.protect),
            )
        )
        hidden = {_camel(key) for key in opts.additional_secret_outputs or ()}
        outputs = {**inputs, **self.made(kind, name)}
        for key in props:
            at = names.get(key, _camel(key))
            secret = at in hidden or any(trail[0] == at for trail in secrets)
            vars(resource)[key] = Known(outputs.get(at), secret=secret)
        vars(resource)["urn"] = Known(urn)
        if custom:
            vars(resource)["id"] = Known(f"{name}-id")

    def _provider(self, kind: str, opts: pulumi.ResourceOptions) -> str:
        if opts.provider:
            return _value(opts.provider.urn)
        return self.providers.get(kind.partition(":")[0], "mocked")


def _value(output: pulumi.Output[str]) -> str:
    return str(cast("Known", output).value)


_camel: Final = cache(alias_generators.to_camel)
_NAMES: Final[dict[type, dict[str, str]]] = {}


def _names(typ: type) -> dict[str, str]:
    """Return the provider's names of a type's properties by their names in Python."""
    if typ not in _NAMES:
        _NAMES[typ] = _types.input_type_py_to_pulumi_names(typ)
    return _NAMES[typ]


def _serialized(value: Any, at: Trail, secrets: set[Trail]) -> Any:
    """Return a value as the engine hands it on; adds the paths of secrets. Raises TypeError for others."""
    if isinstance(value, Known):
        if value.secret_:
            secrets.add(at)
        return _serialized(value.value, at, secrets)
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str(value)
    if isinstance(value, int | float):
        return float(value)
    if _types.is_input_type(type(value)):
        names = _names(type(value))
        value = {names.get(key, key): each for key, each in _types.input_type_to_dict(value).items()}
    if isinstance(value, Mapping):
        return {
            str(key): _serialized(each, (*at, str(key)), secrets)
            for key, each in value.items()
            if each is not None
        }
    if isinstance(value, list | tuple):
        return [_serialized(each, (*at, index), secrets) for index, each in enumerate(value)]
    raise TypeError(f"{at}: {type(value).__name__} is no value of a property.")
