"""What nginx and Alloy's parser make of generated files, and what the pack reads of them."""

import re
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.images.catalogue import NGINX
from lab.toolchain import golang
from policies.targets import end, passed_on
from rendered import nginx
from resources import alloy
from resources.docker import Upload
from tests.counted import Record, counted
from tests.parts.oracles import LIMIT
from tests.policies.rejected import ALLOY, upload
from tests.policies.rejected import alloy as with_alloy
from tests.policies.sound import sound
from tests.site import configuration
from topology.config import load
from topology.model import Container


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=3650))
    signed = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path_factory.mktemp("pem") / "x.pem"
    file.write_bytes(signed + secret)
    return file


PASSES: Final = {
    "proxy_pass http://10.0.0.8:80;": True,
    "proxy_pass HTTP://10.0.0.8:80;": True,
    "proxy_pass Https://10.0.0.8:80;": True,
    'proxy_pass "http://10.0.0.8:80";': True,
    "proxy_pass\n  http://10.0.0.8:80;": True,
    "set $a http://10.0.0.8:80; proxy_pass $a;": True,
    "set $a http; proxy_pass $a://10.0.0.8:80;": True,
    "set $a //10.0.0.8:80; proxy_pass http:$a;": True,
    "set $a 10.0.0.8; proxy_pass http://$a:80;": True,
    "fastcgi_pass 10.0.0.8:80;": True,
    "uwsgi_pass 10.0.0.8:80;": True,
    "scgi_pass 10.0.0.8:80;": True,
    "grpc_pass 10.0.0.8:80;": True,
    "grpc_pass grpcs://10.0.0.8:80;": True,
    "memcached_pass 10.0.0.8:80;": True,
    "proxy_pass http://10.0.0.1:80;": False,
    "proxy_pass 10.0.0.8:80;": True,
    "fastcgi_pass unix:/run/x.sock;": True,
    "proxy_pass http://one;": True,
    "return 200;": False,
}
"""Statements of nginx, and whether they lead to another peer than 10.0.0.1:80."""
UPSTREAM: Final = "upstream one { server 10.0.0.8:80; }\n  upstream 10.0.0.1 { server 10.0.0.8; }"


def _peers_of_nginx(text: str) -> set[tuple[str | None, int | None]]:
    return {end(url) for url in passed_on(Upload(file="/etc/nginx/nginx.conf", content=text))}


def test_nginx_passes_nothing_on_that_the_pack_does_not_see(
    pem: Path, tmp_path: Path, record_property: Record
) -> None:
    """`nginx -t` takes the rendered files; each statement that it takes and that leads elsewhere is seen."""
    topology = load(configuration())
    for service, render in (("loki-gateway", nginx.loki_gateway), ("prometheus-ui", nginx.prometheus_ui)):
        container = topology.services[service]
        assert isinstance(container, Container)
        text = render(topology, container)
        done = _nginx(tmp_path, re.sub(r"/\S+\.(?:pem|crt|key)", str(pem), text))
        assert done.returncode == 0, f"{service}: {done.stderr}"
    counts = Counter[str]()
    for upstream in ("", UPSTREAM):
        for statement, elsewhere in PASSES.items():
            server = f"server {{\n    listen 127.0.0.1:1;\n    location / {{ {statement} }}\n  }}"
            http = f"http {{\n  access_log off;\n  {upstream}\n  {server}\n}}\n"
            text = f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\n{http}"
            taken = _nginx(tmp_path, text).returncode == 0
            other = bool(_peers_of_nginx(text) - {("10.0.0.1", 80)})
            leads = elsewhere or (bool(upstream) and "10.0.0.1:80" in statement)
            counts["taken" if taken else "not taken"] += 1
            assert other or not (taken and leads), text
    counted(record_property, "files of nginx", {"different": 0, **counts})
    assert counts["taken"] >= 25


def _nginx(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Have nginx test a file, with folders of its own in place of the image's."""
    file, program = folder / "nginx.conf", NGINX.get(print) / "usr/sbin/nginx"
    paths = "".join(
        f"  {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        if f"{kind}_temp_path" not in text
    )
    file.write_text(text.replace("http {\n", f"http {{\n{paths}", 1))
    words: list[str | Path] = [program, "-t", "-p", folder, "-e", "stderr", "-c", file]
    return subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False)


ODD_ALLOY: Final = (
    *(
        ("true", "yes"),
        ("true", "True"),
        ("= [", "=["),
        ('"', "`"),
        ('"', "'"),
        ("{", "{{"),
        ("}", ""),
        (",", ""),
        ("=", ":"),
    ),
    *(
        ("[", "[["),
        ("loki.write", "loki-write"),
        ("loki.write", "loki . write"),
        ("url", '"url"'),
        ("url", "uRL"),
    ),
    *(
        (" = ", "="),
        ("\n\n", "\n"),
        ("\n\n", "\n// x\n"),
        ("\n\n", "\n/* x */\n"),
        ("\n\n", "\n# x\n"),
        ("{\n", "\n{\n"),
    ),
    *(
        ('= "warn"', '= "w" + "arn"'),
        ('= "warn"', '= sys.env("X")'),
        ('= "warn"', "= 1"),
        ('= "warn"', "= null"),
    ),
    *(
        ('"TLS13"', '"TLS\\x31\\x33"'),
        ('"TLS13"', '"TLS\\u00313"'),
        ('"TLS13"', '"TLS\n13"'),
        ('"TLS13"', '"TLS\\13"'),
    ),
    *(
        ("\n}\n", "\n};\n"),
        ("\n}\n", "\n}}\n"),
        ("values = {", "values = {,"),
        ('["filename"]', '["filename",]'),
    ),
    *(
        ('["filename"]', '["filename" "b"]'),
        ("stage.docker {}", "stage.docker {},"),
        ("stage.docker {}", "stage.docker"),
    ),
    *(
        ('"containers"', "containers"),
        ('"containers"', '"con tainers"'),
        ('"containers"', '"1c"'),
        ('"containers"', ""),
    ),
)
"""Texts of a configuration for Alloy, and what takes their place, all of them and the first alone."""


def test_alloys_parser_takes_what_the_pack_reads(tmp_path: Path, record_property: Record) -> None:
    """What the pack reads of a file for Alloy, Alloy's own parser takes, but a brace on a line of its own."""
    program = tmp_path / "alloy"
    golang.build("alloy", Path(__file__).with_name("alloy"), ".", program, flags=[], report=lambda _: None)
    stack, counts = sound(), Counter[str]()
    with_alloy(stack)
    text = str(upload(stack, "promtail", ALLOY)["content"])
    cases = [text, *(text.replace(old, new, times) for old, new in ODD_ALLOY for times in (1, -1))]
    differences = []
    for case in cases:
        done = subprocess.run(
            [program], input=case, capture_output=True, text=True, check=False, timeout=LIMIT
        )
        try:
            read = alloy.documents(case)
        except ValueError:
            counts["refused" + (", though taken" if done.returncode == 0 else ", and not taken")] += 1
            continue
        if done.returncode:
            counts["wider: not taken"] += 1
        elif [each["url"] for each in read["clients"]] != re.findall(r'url\s*=\s*"([^"]*)"', case):
            differences.append(case)
        else:
            counts["alike"] += 1
    counted(record_property, "files of Alloy", {"different": 0, **counts})
    assert differences == []
    assert (len(cases), counts["wider: not taken"]) == (79, 2)
    assert counts["alike"] >= 20
