"""Messages about the Compose specification's words: what each key holds, and why some are not taken."""

from __future__ import annotations

import re
from typing import Final

_PLAIN = "write it in quotes, with $$ for a dollar sign"

WORDS: Final[dict[str, tuple[str, str]]] = {
    ".environment": (
        "variables",
        "write each once like LOG_LEVEL: info, or in a list like - LOG_LEVEL=info",
    ),
    ".environment.{}": ("a text or a secret", f"{_PLAIN}, or like {{secret: wiki:db-password}}"),
    ".env_file": ("a file with variables", "name it like wiki.env, or several in a list"),
    ".env_file[]": ("a file path", "name a file like wiki.env"),
    ".secrets": (
        "a mapping of files to secrets",
        "write each like /run/secrets/db-password: wiki:db-password",
    ),
    ".secrets.{}": ("a secret's configuration key", "write it like wiki:db-password"),
    ".volumes": ("a list of volumes", "write it like [data:/var/lib/wiki]"),
    ".volumes[]": ("a volume", "write it like data:/var/lib/wiki or /srv/media:/media:ro"),
    ".volumes[].type": ("a type of mount", "use volume or bind, or write tmpfs beside volumes"),
    ".volumes[].source": ("a volume's name or a folder", "write it like data or /srv/media"),
    ".volumes[].target": ("a path in the container", "write it like /var/lib/wiki"),
    ".volumes[].read_only": ("true or false", "write true, or false"),
    ".command": ("a program's arguments", f"write a list like [serve, --port=3000]; {_PLAIN}"),
    ".command[]": ("a text", _PLAIN),
    ".entrypoint": ("a program", f"write a list like [/bin/wiki, serve]; {_PLAIN}"),
    ".entrypoint[]": ("a text", _PLAIN),
    ".healthcheck": ("a health check", "write test below it, or disable: true"),
    ".healthcheck.test": ("a test", "write it like [CMD, wget, -q, -O, /dev/null, http://127.0.0.1:3000/]"),
    ".healthcheck.test[]": ("a text", _PLAIN),
    ".healthcheck.interval": ("a length of time", "write it like 30s or 1m30s"),
    ".healthcheck.timeout": ("a length of time", "write it like 5s"),
    ".healthcheck.retries": ("a number of tries", "use 1-100"),
    ".healthcheck.start_period": ("a length of time", "write it like 1m"),
    ".healthcheck.start_interval": ("a length of time", "write it like 2s"),
    ".healthcheck.disable": ("true or false", "write true, or leave it out"),
    ".depends_on": ("a list of services", "write it like [wiki-db], or with a condition below each"),
    ".depends_on.{}": (
        "a condition",
        "write {condition: service_started} or {condition: service_healthy}; containers here keep running",
    ),
    ".working_dir": ("a path in the container", "write it like /srv/wiki"),
    ".init": ("true or false", "write true, or leave it out"),
    ".read_only": ("true or false", "write true, or leave it out"),
    ".tmpfs": ("a list of scratch folders", "write it like [/run, '/var/cache:size=16m,mode=755']"),
    ".tmpfs[]": ("a scratch folder", "write it like /run or /var/cache:size=16m,mode=755"),
    ".shm_size": ("a whole number of MiB", "write it like 128m"),
    ".ulimits": ("a mapping of limits", "write each like nofile: 4096, or with soft and hard below it"),
    ".ulimits.{}": ("a limit", "write a number, or {soft: 1024, hard: 4096}"),
    ".ulimits.{}.soft": ("a number", "write both soft and hard, or one number for both"),
    ".ulimits.{}.hard": ("a number", "write both soft and hard, or one number for both"),
    ".sysctls": ("a mapping of kernel settings", 'write each once like net.core.somaxconn: "1024"'),
    ".sysctls.{}": ("a text", "write it in quotes"),
    ".extra_hosts": ("a list of hosts", "write each once like mail.lan:192.168.1.9"),
    ".extra_hosts.{}": ("a host name and its IPv4 address", "write it like mail.lan:192.168.1.9"),
    ".extra_hosts.[key]": ("a host name", "write it in lower case like mail.lan"),
    ".dns": ("a list of addresses", "write it like [172.30.2.53]"),
    ".dns[]": ("an IPv4 address", "write it like 172.30.2.53"),
    ".stop_signal": ("a signal", "write it like SIGINT"),
    ".stop_grace_period": ("a length of time", "write it like 30s or 1m30s"),
    ".labels": ("a mapping of labels", "write each once like org.example.team: home"),
    ".labels.{}": ("a text", _PLAIN),
    ".cap_add": ("a list of capabilities", "write it like [CHOWN]"),
    ".cap_add[]": ("a capability", "write it like CHOWN"),
    ".devices": ("a list of devices", "write it like [/dev/dri/renderD128]"),
    ".devices[]": ("a device", "write it like /dev/dri/renderD128 or /dev/ttyUSB0:/dev/zigbee:rw"),
    ".cpus": ("a number of processors", 'write it like "0.5"'),
    "volumes": ("a mapping of volumes", "write each like media: {external: true}"),
    "volumes.{}": ("a volume", "write external or driver_opts below it"),
    "volumes.[key]": ("a volume's name", "write it like media"),
    "volume.external": ("true or false", "write true, or leave it out"),
    "volume.name": ("a volume's name", "write that of the engine, like old_media"),
    "volume.driver": ("a driver of volumes", "write local, or leave it out"),
    "volume.driver_opts": ("the folder of a file server", "write type, o and device below it"),
    "volume.driver_opts.type": ("a file system of the network", "write nfs or nfs4"),
    "volume.driver_opts.o": ("options with the server's address", "write them like addr=192.168.1.9,ro"),
    "volume.driver_opts.device": ("a folder of the server", 'write it like ":/export/media"'),
}
"""Description and remedy of each key, as in `topology.words.WORDS`, of which it is a part."""

HIDDEN: Final = (".environment", ".secrets", ".command", ".entrypoint", ".healthcheck.test", ".env_file")
"""Keys whose values no message repeats, since they may hold a secret; what is below them, too."""

HOSTS_NETWORK: Final = (
    "would be on the host's network, past every rule",
    (
        "declare what it listens on as ports, and a flow from the ingress; what must hear broadcasts or "
        "multicast of the LAN is a guest on its VLAN"
    ),
)
ANOTHERS_STACK: Final = (
    "would be one with another container on the network: its address, its ports and its ways out",
    "run both in one guest, whose firewall lets out the VPN's port and nothing else",
)
"""What a `network_mode` would do, and the better way (docs/adr/one-stack-one-container.md)."""

_NETWORK = ("would join networks of its own", "name Docker networks in zones, and declare flows")
_OUT = "leave it out"
_SHARED = ("would share a namespace of the host", _OUT)
_NAMED = ("is the service's own name here", "name the entry as you want it")
_MEMORY = ("is memory here", "write memory: 512, in MiB, swap included")
_CPU = ("is cpus here", 'write cpus: "0.5"')
_KEPT = ("is the same for every container", _OUT)

REFUSED: Final[dict[str, tuple[str, str]]] = {
    "annotations": _KEPT,
    "attach": _KEPT,
    "blkio_config": ("cannot be judged", _OUT),
    "build": ("would build an image", "build it elsewhere, and name it with its version in image"),
    "cap_drop": ("is not needed: every capability is dropped", _OUT),
    "cgroup": _SHARED,
    "cgroup_parent": _KEPT,
    "configs": ("is files here", "write each like /etc/wiki.conf: the file's text, below files"),
    "container_name": _NAMED,
    "cpu_count": _CPU,
    "cpu_percent": _CPU,
    "cpu_period": _CPU,
    "cpu_quota": _CPU,
    "cpu_shares": _CPU,
    "cpuset": _CPU,
    "credential_spec": ("is for Windows", _OUT),
    "deploy": ("is for a swarm", "write memory: 512, in MiB, and cpus in its place"),
    "develop": ("would build an image", _OUT),
    "device_cgroup_rules": ("would open devices by rule", "name each device in devices"),
    "dns_opt": ("would lead names elsewhere", _OUT),
    "dns_search": ("would lead names elsewhere", _OUT),
    "domainname": _NAMED,
    "expose": ("is ports here", "write what it listens on like ports: [3000]; no port is published"),
    "extends": ("would read another file", "write the keys out"),
    "external_links": _NETWORK,
    "gpus": ("would give it devices by request", "name each device in devices"),
    "hostname": _NAMED,
    "ipc": _SHARED,
    "links": _NETWORK,
    "log_driver": _KEPT,
    "logging": _KEPT,
    "mac_address": _NETWORK,
    "mem_limit": _MEMORY,
    "mem_reservation": _MEMORY,
    "memswap_limit": _MEMORY,
    "network_mode": HOSTS_NETWORK,
    "networks": _NETWORK,
    "oom_kill_disable": ("would let it take the host's memory", "raise memory"),
    "oom_score_adj": ("would have the kernel end another program first", "raise memory"),
    "pid": _SHARED,
    "pids_limit": (
        "cannot be set by the docker provider",
        "write ulimits: {nproc: 200}; memory bounds processes, too",
    ),
    "post_start": ("would run a program from outside", "put it into the image"),
    "pre_stop": ("would run a program from outside", "put it into the image"),
    "privileged": (
        "would make it root on the host",
        "name the one capability in cap_add, or the device in devices, with an exception",
    ),
    "profiles": ("would start it sometimes", "keep it in a stack file of its own"),
    "restart": ("is unless-stopped for every container", _OUT),
    "runtime": ("would run it past the engine's own runtime", _OUT),
    "scale": ("would run it more than once", "declare each container under a name of its own"),
    "security_opt": ("is not needed: no-new-privileges is set, and the profiles stay on", _OUT),
    "storage_opt": ("cannot be judged", _OUT),
    "use_api_socket": ("would give it the engine, which is root on the host", "configure it by files"),
    "group_add": ("would be another group", "write the group in user"),
    "stdin_open": ("would wait for a terminal", _OUT),
    "tty": ("would wait for a terminal", _OUT),
    "platform": ("is the host's", _OUT),
    "pull_policy": ("is the same for every container", _OUT),
    "isolation": ("is for Windows", _OUT),
    "userns_mode": _SHARED,
    "uts": _SHARED,
    "volumes_from": ("would share all of another's data", "give it volumes of its own, and declare a flow"),
}
"""Compose's keys that a container does not take: why, and what to write instead."""


_SMB: Final = (
    "would keep its password in the engine's options of the volume",
    "mount it on Docker-SRV with a credentials file, and that folder like /mnt/films:/films:ro",
)


def hint(word: str, raw: object) -> tuple[str, str] | None:
    """Return another fault and remedy for a value in a form of Compose's that means something else here."""
    if word == ".ports[]":
        return _port_hint(f"{raw}")
    if word in {".command[]", ".entrypoint[]"} and isinstance(raw, dict) and [*raw] == ["secret"]:
        remedy = "give it to the program by secrets, a variable or a file"
        return ("would show a secret to every process list", remedy)
    if word == ".extra_hosts.{}" and f"{raw}".endswith("host-gateway"):
        return ("would be the host", "declare a flow to the service instead")
    if word == ".secrets" and isinstance(raw, list):
        return ("is a list", "write each as the file in the container and the key of its secret")
    if word == ".environment.{}" and isinstance(raw, str) and raw.isidentifier():
        return ("has no value", "write it like - LOG_LEVEL=info; nothing is taken from your shell")
    return _SMB if word == "volume.driver_opts.type" and raw in ("cifs", "smb3") else None


def _port_hint(raw: str) -> tuple[str, str] | None:
    if published := re.fullmatch(r"[\d.\-\[\]:]*:(\d{1,5}(/(tcp|udp))?)", raw, re.ASCII):
        remedy = f"write {published[1]}, what it listens on, and declare a flow from the ingress"
        return ("would publish a port", remedy)
    if re.fullmatch(r"\d+-\d+(/(tcp|udp))?", raw, re.ASCII):
        return ("is a range", "name each port that a flow leads to")
    return None


def refusal(key: str, value: object) -> tuple[str, str]:
    """Return the fault of a refused key with this value, and its remedy."""
    shares = key == "network_mode" and str(value).startswith(("service:", "container:"))
    return ANOTHERS_STACK if shares else REFUSED[key]
