"""Read access to the Docker API: GET requests alone, on one connection.

Paths have no version, so the engine answers in its own. The `docker` command carries all endpoints but local
sockets, with its own SSH and TLS settings.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from survey.errors import SurveyError

DEFAULT: Final = "unix:///var/run/docker.sock"
_SECONDS: Final = 20
_LARGEST: Final = 1 << 20
"""Bytes of the largest configuration file that is read."""
_REGISTRIES: Final = ("RegistryConfig", "HttpProxy", "HttpsProxy")
_NEVER_KEPT: Final = ("Env", *_REGISTRIES)
"""Keys of an answer whose values are or may hold secrets, and that no question needs."""


class DockerApi:
    """The engine at `host`, written as in DOCKER_HOST; `environment`: answers keep containers' variables."""

    def __init__(self, host: str = DEFAULT, *, environment: bool = False) -> None:
        self.host = host
        self._decoded = _without_registries if environment else _without_secrets
        self._connection = Connection(host)

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is a socket of this machine."""
        return self.host.startswith("unix://")

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is a TCP port without TLS."""
        return self.host.startswith(("tcp://", "http://")) and not os.environ.get("DOCKER_TLS_VERIFY")

    def get(self, path: str) -> Any:
        """Return the answer's JSON without the values that are never kept; raises SurveyError."""
        found = self.find(path)
        if found is None:
            raise SurveyError(f"{self.host}: has no {path}; set DOCKER_HOST to a Docker engine.")
        return found

    def find(self, path: str) -> Any:
        """Return the answer's JSON, None for an object that is gone by now; raises SurveyError."""
        body = self._read(path)
        try:
            return None if body is None else json.loads(body, object_hook=self._decoded)
        except ValueError:
            raise SurveyError(f"{self.host}: answers no JSON; set DOCKER_HOST to a Docker engine.") from None

    def files(self, container: str, folder: str) -> Mapping[str, str]:
        """Return the YAML and TOML files below a container's folder by path; none if there is no folder."""
        found: dict[str, str] = {}
        archive = self._read(f"/containers/{container}/archive?path={quote(folder)}")
        with (
            suppress(tarfile.TarError, UnicodeDecodeError),
            tarfile.open(fileobj=io.BytesIO(archive or b"")) as tar,
        ):
            for entry in tar:
                named = entry.name.endswith((".yml", ".yaml", ".toml"))
                if named and entry.size <= _LARGEST and (file := tar.extractfile(entry)):
                    found[str(Path(folder).parent / entry.name)] = file.read().decode()
        return found

    def _read(self, path: str) -> bytes | None:
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as fault:
            reason = self._connection.said() or getattr(fault, "strerror", None) or fault
            self._connection.close()
            raise SurveyError(
                f"{self.host}: {reason}; set DOCKER_HOST to an engine that runs and that you may ask."
            ) from None
        if answer.status == http.HTTPStatus.NOT_FOUND:
            return None
        if answer.status != http.HTTPStatus.OK:
            raise SurveyError(
                f"{self.host}: answers {answer.status} to GET {path}; see its log, and ask again."
            )
        return body

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class Connection(http.client.HTTPConnection):
    """A connection to a local socket, or by `docker system dial-stdio`."""

    def __init__(self, endpoint: str) -> None:
        super().__init__("docker", timeout=_SECONDS)
        self._endpoint = endpoint
        self._client: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        """Open the connection; HTTPConnection calls this."""
        if self._endpoint.startswith("unix://"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(_SECONDS)
            self.sock.connect(self._endpoint.removeprefix("unix://"))
            return
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(_SECONDS)
        with theirs:
            self._client = subprocess.Popen(
                ["docker", "--host", self._endpoint, "system", "dial-stdio"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
            )

    def said(self) -> str:
        """Return the last line of a client that ended."""
        if self._client is None:
            return ""
        with suppress(subprocess.TimeoutExpired):
            self._client.wait(1)
        self._client.kill()
        said = self._client.communicate()[1].decode(errors="replace").strip()
        return said.rpartition("\n")[2].rstrip(".")

    def close(self) -> None:
        """Close the connection, and end its client."""
        super().close()
        if self._client is not None:
            self._client.kill()
            self._client.communicate()
            self._client = None


def _without_secrets(value: dict[str, Any]) -> dict[str, Any]:
    for key in _NEVER_KEPT:
        value.pop(key, None)
    return value


def _without_registries(value: dict[str, Any]) -> dict[str, Any]:
    for key in _REGISTRIES:
        value.pop(key, None)
    return value
