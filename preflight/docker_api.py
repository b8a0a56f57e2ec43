"""Read access to the Docker API, without a client that omits fields unknown to it.

An unversioned path is answered in the engine's own API version, so neither an old `docker` command nor a high
minimum version hides a field.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from typing import Any, BinaryIO, Final, cast

from verify.driver import ProbeError

DEFAULT: Final = "unix:///var/run/docker.sock"
_SECONDS: Final = 20


class DockerApi:
    """The engine at `host`, written as in DOCKER_HOST."""

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
        try:
            return self._local(path) if self.is_local else self._through_the_client(path)
        except (OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError) as fault:
            reason = getattr(fault, "strerror", None) or fault
            raise ProbeError(f"{self.host}: {reason}") from None

    def _local(self, path: str) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(self.socket)
            connection.sendall(_request(path))
            return _answer(connection)

    def _through_the_client(self, path: str) -> Any:
        """Return the answer by `docker system dial-stdio`, which handles SSH and TLS and alters no data."""
        words = ["docker", "--host", self.host, "system", "dial-stdio"]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as client:
            try:
                # The input stays open: an engine drops a request whose sender closes the connection.
                _pipe(client.stdin).write(_request(path))
                _pipe(client.stdin).flush()
                return _answer(_Pipe(_pipe(client.stdout)))
            except (OSError, http.client.HTTPException):
                said = _pipe(client.stderr).read().decode(errors="replace").strip()
                raise ValueError(said or "no answer") from None
            finally:
                client.kill()


class _Pipe:
    """A pipe in place of the socket that `HTTPResponse` reads from."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe

    def makefile(self, *_: object) -> BinaryIO:
        return self._pipe


def _pipe(stream: object) -> BinaryIO:
    return cast("BinaryIO", stream)


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n".encode()


def _answer(source: Any) -> Any:
    response = http.client.HTTPResponse(source)
    response.begin()
    body = response.read()
    if response.status != http.HTTPStatus.OK:
        raise ValueError(f"answers {response.status} {response.reason}")
    return json.loads(body)
