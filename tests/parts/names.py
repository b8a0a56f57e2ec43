"""The test's own name server: one zone in which every name exists, with TXT records set over HTTP.

Its API is that of lego's provider `httpreq`, with user `ingress` and the password given.
"""

import base64
import json
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import BaseRequestHandler, UDPServer

ZONE, PASSWORD = sys.argv[1:]
TEXTS: defaultdict[str, list[str]] = defaultdict(list)
A, NS, SOA, TXT = 1, 2, 6, 16
_ASKED = b"\xc0\x0c"
"""The name in the question, as a compression pointer of RFC 1035."""


def data(name: str, kind: int) -> Iterator[bytes]:
    """Yield the data of a name's records."""
    if kind == A:
        yield bytes((127, 0, 0, 1))
    elif kind == NS and name == ZONE:
        yield b"\x02ns" + _ASKED
    elif kind == SOA and name == ZONE:
        yield _ASKED * 2 + bytes(20)
    elif kind == TXT:
        yield from (bytes((len(text),)) + text.encode() for text in TEXTS[name])


class Names(BaseRequestHandler):
    """Answers one question; a name without a record of the type gets an empty answer, without an error."""

    def handle(self) -> None:
        """Read the question's name and type, and repeat it before the answers."""
        query, sock = self.request
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode().lower())
            at += length + 1
        kind = query[at + 1 : at + 3]
        found = [
            _ASKED + kind + bytes((0, 1, 0, 0, 0, 0)) + len(each).to_bytes(2) + each
            for each in data(".".join(labels), int.from_bytes(kind))
        ]
        head = query[:2] + b"\x85\x80\0\1" + len(found).to_bytes(2) + bytes(4)
        sock.sendto(head + query[12 : at + 5] + b"".join(found), self.client_address)


class Records(BaseHTTPRequestHandler):
    """Adds and removes records over HTTP."""

    def do_POST(self) -> None:  # named by the library
        """Add the record for `/present`, remove it for `/cleanup`."""
        login = base64.b64encode(f"ingress:{PASSWORD}".encode()).decode()
        if self.headers["Authorization"] != f"Basic {login}":
            self.send_error(401)
            return
        record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = TEXTS[record["fqdn"].rstrip(".")]
        (texts.append if self.path == "/present" else texts.remove)(record["value"])
        self.send_response(200)
        self.end_headers()


if __name__ == "__main__":
    names = UDPServer(("127.0.0.1", 53), Names)
    threading.Thread(target=names.serve_forever, daemon=True).start()
    records = HTTPServer(("127.0.0.1", 8055), Records)
    print("ready", flush=True)
    records.serve_forever()
