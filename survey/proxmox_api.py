"""Read access to a Proxmox API: GET requests alone, with an API token, over HTTPS.

A request that the token may not make, or that a node does not answer (it is off, or lacks the firewall),
is answered with nothing, and kept in `refused` or `unanswered`.
"""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from survey.errors import SurveyError

_SECONDS: Final = 20
_REFUSED: Final = (401, 403)
_NEVER_KEPT: Final = ("cipassword", "sshkeys", "description")
"""Keys of a guest's configuration that may hold secrets, and that no question needs."""


class ProxmoxApi:
    """The API at an address such as https://pve:8006, for a token `user@realm!name=secret`."""

    def __init__(self, url: str, token: str, trust: str | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"https://{url}")
        if parts.scheme != "https" or not parts.hostname:
            raise SurveyError(f"{url}: is not https; write it like https://pve:8006.")
        if "!" not in token or "=" not in token:
            raise SurveyError("PROXMOX_VE_API_TOKEN: is no token; set it to user@realm!name=secret.")
        self.url = f"https://{parts.hostname}:{parts.port or 8006}"
        self.refused: list[str] = []
        self.unanswered: list[str] = []
        self._headers = {"Authorization": f"PVEAPIToken={token}"}
        self._connection = http.client.HTTPSConnection(
            parts.hostname,
            parts.port or 8006,
            timeout=_SECONDS,
            context=ssl.create_default_context(cafile=trust),
        )

    def get(self, path: str, absent: Any) -> Any:
        """Return the answer's data, or `absent` where the token may not ask; raises SurveyError."""
        try:
            self._connection.request("GET", f"/api2/json/{path}", headers=self._headers)
            answer = self._connection.getresponse()
            body = answer.read()
            if answer.status != http.HTTPStatus.OK and path != "version":
                (self.refused if answer.status in _REFUSED else self.unanswered).append(path)
                return absent
            if answer.status == http.HTTPStatus.OK:
                return json.loads(body, object_hook=_without_secrets)["data"] or absent
            reason = f"answers {answer.status} to GET {path}"
        except (OSError, http.client.HTTPException, ValueError, KeyError) as fault:
            reason = str(getattr(fault, "verify_message", "") or getattr(fault, "strerror", None) or fault)
        self._connection.close()
        raise SurveyError(
            f"{self.url}: {reason.rstrip('.')}; check the address, the token and, by SSL_CERT_FILE, the "
            "authority that it trusts."
        )

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _without_secrets(value: dict[str, Any]) -> dict[str, Any]:
    for key in _NEVER_KEPT:
        value.pop(key, None)
    return value
