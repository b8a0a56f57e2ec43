"""Read access to the Docker API, without a client that omits fields unknown to it.

An unversioned path is answered in the engine's own API version, so neither an old `docker` command nor a high
minimum version hides a field.
"""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

from survey.docker_api import DEFAULT, Connection
from verify.driver import ProbeError


class DockerApi:
    """The engine at `host`, written as in DOCKER_HOST. Answers keep every field."""

    def __init__(self, host: str = DEFAULT) -> None:
        self.host = host

    @property
    def is_local(self) -> bool:
        """Whether the engine is on this machine."""
        return self.host.startswith("unix://")

    @property
    def socket(self) -> str:
        """Path of the engine's socket on this machine."""
        return self.host.removeprefix("unix://")

    def answers(self) -> bool:
        """Whether an engine answers."""
        try:
            return bool(self.get("/version"))
        except ProbeError:
            return False

    def get(self, path: str) -> Any:
        """Return the answer's JSON; raises ProbeError if there is none."""
        with closing(Connection(self.host)) as connection:
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                if answer.status != http.HTTPStatus.OK:
                    raise ProbeError(f"{self.host}: answers {answer.status} {answer.reason}")
                return json.loads(answer.read())
            except (OSError, ValueError, http.client.HTTPException) as fault:
                reason = connection.said() or getattr(fault, "strerror", None) or fault
                raise ProbeError(f"{self.host}: {reason}") from None
