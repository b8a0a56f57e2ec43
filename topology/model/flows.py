"""Ports, and the flows between services."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Self

from pydantic import Field, ValidationInfo, model_validator

from topology.model.values import Day, Name, Reason, Value

_PORT = re.compile(r"(\d{1,5})(?:/(\w+))?", re.ASCII)

_FLOW = re.compile(r"(\S+) -> (\S+):(\S+)")


class Protocol(StrEnum):
    """Transport protocol of a port."""

    TCP = "tcp"
    UDP = "udp"


class Port(Value):
    """A port and its protocol, written `443/tcp`."""

    number: int = Field(ge=1, le=65535)
    protocol: Protocol = Protocol.TCP

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object, info: ValidationInfo) -> object:
        if info.mode == "python" and not isinstance(value, str | int):
            return value
        if (match := _PORT.fullmatch(str(value))) is None:
            raise ValueError("not a port")
        return {"number": int(match[1]), "protocol": match[2] or "tcp"}

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """Parse `443` or `53/udp`; raises ValueError on anything else."""
        return cls.model_validate(text)

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


class StreamPort(Value):
    """A port of the ingress and the port of a service behind it, written `2222:22/tcp` as in Compose."""

    published: int = Field(ge=1, le=65535)
    port: Port

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object, info: ValidationInfo) -> object:
        if info.mode == "python" and not isinstance(value, str):
            return value
        published, _, port = str(value).partition(":")
        if not re.fullmatch(r"\d{1,5}", published, re.ASCII):
            raise ValueError("not a stream")
        return {"published": int(published), "port": port}

    @property
    def entry(self) -> Port:
        """The ingress's port."""
        return Port(number=self.published, protocol=self.port.protocol)

    def __str__(self) -> str:
        return f"{self.published}:{self.port}"


class Flow(Value):
    """Permission for `source` to open connections to `port` of `destination`, written `a -> b:443/tcp`.

    `source` is `internet`, a management or external zone, or a service; `destination` is a service, a host,
    an external zone or `internet`.
    """

    source: Name
    destination: Name
    port: Port

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object, info: ValidationInfo) -> object:
        if info.mode == "python" and not isinstance(value, str):
            return value
        if (match := _FLOW.fullmatch(str(value))) is None:
            raise ValueError("not a flow")
        return {"source": match[1], "destination": match[2], "port": match[3]}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `a -> b:443/tcp`; raises ValueError on anything else."""
        return cls.model_validate(text)

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination}:{self.port}"


class Temporary(Value):
    """A flow with an end date: the last day on which it may be declared, and its reason."""

    flow: Flow
    until: Day
    reason: Reason


SSH = Port(number=22)
"""Port on which administrators log in to a guest, if the guest declares it."""

HTTP = Port(number=80)
"""Port on which an ACME server requests the HTTP challenge (RFC 8555)."""

HTTPS = Port(number=443)
"""Port on which the ingress serves its routes, if no flow names another."""

DNS = Port(number=53, protocol=Protocol.UDP)
