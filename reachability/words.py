"""Parses the words of a Proxmox rule: protocols, ports, services, ICMP types and macros.

Names are those of Debian's `netbase`, which a Proxmox node has, with the port that iptables finds first:
`dicom` is also another name of 104. A `WordError` is a word that Proxmox
refuses, a `CompileError` a word that it accepts but cannot build a rule from, a `KernelError` a rule that it
builds but iptables refuses.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from topology.model import Protocol

MAX_PORT: Final = 65535
OTHER: Final = -1
Bounds = tuple[tuple[int, int], ...]


class WordError(ValueError):
    """Proxmox refuses the rule; if a file contains the rule anyway, Proxmox skips it."""


class CompileError(WordError):
    """Proxmox accepts the rule but cannot build it."""


class KernelError(WordError):
    """Proxmox builds the rule, and iptables refuses it together with all other rules."""


class OctalError(KernelError):
    """Proxmox builds the rule, and iptables reads a number in it as octal, or refuses it: `010` is 8."""


class Range(NamedTuple):
    """Packets `low` to `high`, both included, of one protocol; OTHER is every protocol but TCP and UDP.

    The numbers are destination ports if the protocol has ports, `256 * type + code` for ICMP.
    """

    protocol: Protocol | int
    low: int
    high: int

    def holds(self, protocol: Protocol | int, number: int) -> bool:
        """Whether the range contains a packet."""
        other = self.protocol == OTHER and not isinstance(protocol, Protocol)
        return (other or protocol == self.protocol) and self.low <= number <= self.high


class PacketMatch(NamedTuple):
    """The packets that a rule matches, addresses aside; `sports` None is every source port."""

    ports: tuple[Range, ...]
    sports: Bounds | None = None


EVERY_PACKET: Final = (*(Range(protocol, 0, MAX_PORT) for protocol in Protocol), Range(OTHER, 0, MAX_PORT))
ICMP: Final = 1
ICMP_ERRORS: Final = (Range(ICMP, 3 * 256 + 4, 3 * 256 + 4), Range(ICMP, 11 * 256, 11 * 256 + 255))
"""ICMP errors that pass under policy DROP or REJECT: fragmentation needed, time exceeded."""

_PROTOCOLS: Final = """
ip 0; hopopt 0; icmp 1; igmp 2; ggp 3; ipencap 4; st 5; tcp 6; egp 8; igp 9; pup 12; udp 17; hmp 20; xns-idp
22; rdp 27; iso-tp4 29; dccp 33; xtp 36; ddp 37; idpr-cmtp 38; ipv6 41; ipv6-route 43; ipv6-frag 44; idrp
45; rsvp 46; gre 47; esp 50; ah 51; skip 57; ipv6-icmp 58; ipv6-nonxt 59; ipv6-opts 60; rspf 73; vmtp 81;
eigrp 88; ospf 89; ax.25 93; ipip 94; etherip 97; encap 98; pim 103; ipcomp 108; vrrp 112; l2tp 115; isis
124; sctp 132; fc 133; mobility-header 135; udplite 136; mpls-in-ip 137; manet 138; hip 139; shim6 140; wesp
141; rohc 142; ethernet 143; mptcp 262
"""
_SERVICES: Final = """
tcpmux 1/tcp; echo 7/tcp+udp; discard 9/tcp+udp; systat 11/tcp; daytime 13/tcp+udp; netstat 15/tcp; qotd
17/tcp; chargen 19/tcp+udp; ftp-data 20/tcp; ftp 21/tcp; fsp 21/udp; ssh 22/tcp; telnet 23/tcp; smtp 25/tcp;
time 37/tcp+udp; whois 43/tcp; tacacs 49/tcp+udp; domain 53/tcp+udp; bootps 67/udp; bootpc 68/udp; tftp
69/udp; gopher 70/tcp; finger 79/tcp; http 80/tcp; kerberos 88/tcp+udp; iso-tsap 102/tcp; acr-nema 104/tcp;
pop3 110/tcp; sunrpc 111/tcp+udp; auth 113/tcp; nntp 119/tcp; ntp 123/udp; epmap 135/tcp; netbios-ns
137/udp; netbios-dgm 138/udp; netbios-ssn 139/tcp; imap2 143/tcp; snmp 161/tcp+udp; snmp-trap 162/tcp+udp;
cmip-man 163/tcp+udp; cmip-agent 164/tcp+udp; mailq 174/tcp; xdmcp 177/udp; bgp 179/tcp; smux 199/tcp; qmtp
209/tcp; z3950 210/tcp; ipx 213/udp; ptp-event 319/udp; ptp-general 320/udp; pawserv 345/tcp; zserv 346/tcp;
rpc2portmap 369/tcp+udp; codaauth2 370/tcp+udp; clearcase 371/udp; ldap 389/tcp+udp; svrloc 427/tcp+udp;
https 443/tcp+udp; snpp 444/tcp; microsoft-ds 445/tcp; kpasswd 464/tcp+udp; submissions 465/tcp; saft
487/tcp; isakmp 500/udp; rtsp 554/tcp+udp; nqs 607/tcp; asf-rmcp 623/udp; qmqp 628/tcp; ipp 631/tcp; ldp
646/tcp+udp; exec 512/tcp; biff 512/udp; login 513/tcp; who 513/udp; shell 514/tcp; syslog 514/tcp+udp;
printer 515/tcp; talk 517/udp; ntalk 518/udp; route 520/udp; gdomap 538/tcp+udp; uucp 540/tcp; klogin 543/tcp;
kshell 544/tcp; dhcpv6-client 546/udp; dhcpv6-server 547/udp; afpovertcp 548/tcp; nntps 563/tcp; submission
587/tcp; ldaps 636/tcp+udp; tinc 655/tcp+udp; silc 706/tcp; kerberos-adm 749/tcp; domain-s 853/tcp+udp;
rsync 873/tcp; ftps-data 989/tcp; ftps 990/tcp; telnets 992/tcp; imaps 993/tcp; pop3s 995/tcp; socks
1080/tcp; proofd 1093/tcp; rootd 1094/tcp; openvpn 1194/tcp+udp; rmiregistry 1099/tcp; lotusnote 1352/tcp;
ms-sql-s 1433/tcp; ms-sql-m 1434/udp; ingreslock 1524/tcp; datametrics 1645/tcp+udp; sa-msg-port
1646/tcp+udp; kermit 1649/tcp; groupwise 1677/tcp; l2f 1701/udp; radius 1812/tcp+udp; radius-acct
1813/tcp+udp; cisco-sccp 2000/tcp; nfs 2049/tcp+udp; gnunet 2086/tcp+udp; rtcm-sc104 2101/tcp+udp;
gsigatekeeper 2119/tcp; gris 2135/tcp; cvspserver 2401/tcp; venus 2430/tcp+udp; venus-se 2431/tcp+udp;
codasrv 2432/tcp+udp; codasrv-se 2433/tcp+udp; mon 2583/tcp+udp; dict 2628/tcp; f5-globalsite 2792/tcp;
gsiftp 2811/tcp; gpsd 2947/tcp; gds-db 3050/tcp; icpv2 3130/udp; isns 3205/tcp+udp; iscsi-target 3260/tcp;
mysql 3306/tcp; ms-wbt-server 3389/tcp; nut 3493/tcp+udp; distcc 3632/tcp; daap 3689/tcp; svn 3690/tcp;
suucp 4031/tcp; sysrqd 4094/tcp; sieve 4190/tcp; epmd 4369/tcp; remctl 4373/tcp; f5-iquery 4353/tcp; ntske
4460/tcp; ipsec-nat-t 4500/udp; iax 4569/udp; mtn 4691/tcp; radmin-port 4899/tcp; sip 5060/tcp+udp; sip-tls
5061/tcp+udp; xmpp-client 5222/tcp; xmpp-server 5269/tcp; cfengine 5308/tcp; mdns 5353/udp; postgresql
5432/tcp; freeciv 5556/tcp; amqps 5671/tcp; amqp 5672/tcp+sctp; x11 6000/tcp; x11-1 6001/tcp; x11-2
6002/tcp; x11-3 6003/tcp; x11-4 6004/tcp; x11-5 6005/tcp; x11-6 6006/tcp; x11-7 6007/tcp; gnutella-svc
6346/tcp+udp; gnutella-rtr 6347/tcp+udp; redis 6379/tcp; sge-qmaster 6444/tcp; sge-execd 6445/tcp;
mysql-proxy 6446/tcp; babel 6696/udp; ircs-u 6697/tcp; bbs 7000/tcp; afs3-fileserver 7000/udp; afs3-callback
7001/udp; afs3-prserver 7002/udp; afs3-vlserver 7003/udp; afs3-kaserver 7004/udp; afs3-volser 7005/udp;
afs3-bos 7007/udp; afs3-update 7008/udp; afs3-rmtsys 7009/udp; font-service 7100/tcp; http-alt 8080/tcp;
puppet 8140/tcp; bacula-dir 9101/tcp; bacula-fd 9102/tcp; bacula-sd 9103/tcp; xmms2 9667/tcp; nbd 10809/tcp;
zabbix-agent 10050/tcp; zabbix-trapper 10051/tcp; amanda 10080/tcp; dicom 104/tcp; hkp 11371/tcp; db-lsp
17500/tcp; dcap 22125/tcp; gsidcap 22128/tcp; wnn6 22273/tcp; kerberos4 750/udp+tcp; kerberos-master
751/udp+tcp; passwd-server 752/udp; krb-prop 754/tcp; zephyr-srv 2102/udp; zephyr-clt 2103/udp; zephyr-hm
2104/udp; iprop 2121/tcp; supfilesrv 871/tcp; supfiledbg 1127/tcp; poppassd 106/tcp; moira-db 775/tcp;
moira-update 777/tcp; moira-ureg 779/udp; spamd 783/tcp; skkserv 1178/tcp; predict 1210/udp; rmtcfg
1236/tcp; xtel 1313/tcp; xtelw 1314/tcp; zebrasrv 2600/tcp; zebra 2601/tcp; ripd 2602/tcp; ripngd 2603/tcp;
ospfd 2604/tcp; bgpd 2605/tcp; ospf6d 2606/tcp; ospfapi 2607/tcp; isisd 2608/tcp; fax 4557/tcp; hylafax
4559/tcp; munin 4949/tcp; rplay 5555/udp; nrpe 5666/tcp; nsca 5667/tcp; canna 5680/tcp; syslog-tls 6514/tcp;
sane-port 6566/tcp; ircd 6667/tcp; zope-ftp 8021/tcp; tproxy 8081/tcp; omniorb 8088/tcp; clc-build-daemon
8990/tcp; xinetd 9098/tcp; git 9418/tcp; zope 9673/tcp; webmin 10000/tcp; kamanda 10081/tcp; amandaidx
10082/tcp; amidxtape 10083/tcp; sgi-cmsd 17001/udp; sgi-crsd 17002/udp; sgi-gcd 17003/udp; sgi-cad
17004/tcp; binkp 24554/tcp; asp 27374/tcp+udp; csync2 30865/tcp; dircproxy 57000/tcp; tfido 60177/tcp; fido
60179/tcp
"""
_ICMP: Final = """
any; echo-reply 0; destination-unreachable 3; network-unreachable 3/0; host-unreachable 3/1;
protocol-unreachable 3/2; port-unreachable 3/3; fragmentation-needed 3/4; source-route-failed 3/5;
network-unknown 3/6; host-unknown 3/7; network-prohibited 3/9; host-prohibited 3/10;
TOS-network-unreachable 3/11; TOS-host-unreachable 3/12; communication-prohibited 3/13;
host-precedence-violation 3/14; precedence-cutoff 3/15; source-quench 4; redirect 5; network-redirect 5/0;
host-redirect 5/1; TOS-network-redirect 5/2; TOS-host-redirect 5/3; echo-request 8; router-advertisement 9;
router-solicitation 10; time-exceeded 11; ttl-zero-during-transit 11/0; ttl-zero-during-reassembly 11/1;
parameter-problem 12; ip-header-bad 12/0; required-option-missing 12/1; timestamp-request 13;
timestamp-reply 14; address-mask-request 17; address-mask-reply 18
"""
_ICMP_6: Final = """
destination-unreachable no-route communication-prohibited beyond-scope address-unreachable port-unreachable
failed-policy reject-route packet-too-big time-exceeded ttl-zero-during-transit ttl-zero-during-reassembly
parameter-problem bad-header unknown-header-type unknown-option echo-request echo-reply router-solicitation
router-advertisement neighbor-solicitation neighbour-solicitation neighbor-advertisement
neighbour-advertisement redirect
"""
_MACROS: Final = """
Amanda udp 10080, tcp 10080; Auth tcp 113; BGP tcp 179; BitTorrent tcp 6881:6889, udp 6881;
BitTorrent32 tcp 6881:6999, udp 6881; Ceph tcp 6789, tcp 3300, tcp 6800:7300; CVS tcp 2401;
Citrix tcp 1494, udp 1604, tcp 2598; DAAP tcp 3689, udp 3689; DCC tcp 6277; DHCPfwd udp 67:68 67:68;
DNS udp 53, tcp 53; Distcc tcp 3632; FTP tcp 21; Finger tcp 79; GNUnet tcp 2086, udp 2086, tcp 1080, udp 1080;
GRE 47; Git tcp 9418; HKP tcp 11371; HTTP tcp 80; HTTPS tcp 443; ICPV2 udp 3130; ICQ tcp 5190; IMAP tcp 143;
IMAPS tcp 993; IPIP 94; IPsec udp 500 500, 50; IPsecah udp 500 500, 51; IPsecnat udp 500, udp 4500, 50;
IRC tcp 6667; Jetdirect tcp 9100; L2TP udp 1701; LDAP tcp 389; LDAPS tcp 636; MSNP tcp 1863; MSSQL tcp 1433;
Mail tcp 25, tcp 465, tcp 587; MDNS udp 5353; Munin tcp 4949; MySQL tcp 3306; NNTP tcp 119; NNTPS tcp 563;
NTP udp 123; OSPF 89; OpenVPN udp 1194; PCA udp 5632, tcp 5631; PMG tcp 8006; POP3 tcp 110; POP3S tcp 995;
PPtP 47, tcp 1723; Ping icmp echo-request; PostgreSQL tcp 5432; Printer tcp 515; RDP tcp 3389; RIP udp 520;
RNDC tcp 953; Razor tcp 2703; Rdate tcp 37; Rsync tcp 873; SANE tcp 6566;
SMB udp 135+445, udp 137:139, udp 1024:65535 137, tcp 135+139+445; SMBswat tcp 901; SMTP tcp 25;
SMTPS tcp 465; SNMP udp 161:162, tcp 161; SPAMD tcp 783; SSH tcp 22; SVN tcp 3690;
SixXS tcp 3874, udp 3740, 41, udp 5072+8374; SPICEproxy tcp 3128; Squid tcp 3128; Submission tcp 587;
Syslog udp 514, tcp 514; TFTP udp 69; Telnet tcp 23; Telnets tcp 992; Time tcp 37;
Trcrt udp 33434:33524, icmp echo-request; VNC tcp 5900:5999; VNCL tcp 5500; Web tcp 80, tcp 443;
Webcache tcp 8080; Webmin tcp 10000; Whois tcp 43; DHCPv6 udp 546:547 546:547;
NeighborDiscovery icmpv6 router-solicitation, icmpv6 router-advertisement, icmpv6 neighbor-solicitation
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a macro, with its fields as Proxmox writes them."""

    proto: str
    dport: str | None = None
    sport: str | None = None


def _macro(text: str) -> tuple[str, tuple[Line, ...]]:
    name, _, rest = text.strip().partition(" ")
    lines = []
    for part in filter(None, rest.split(", ")):
        proto, dport, sport = (*part.split(), None, None)[:3]
        lines.append(Line(proto=proto or "", dport=dport and dport.replace("+", ","), sport=sport))
    return name.lower(), tuple(lines)


def _table(text: str) -> Iterator[tuple[str, str]]:
    for part in " ".join(text.split()).split("; "):
        name, _, value = part.partition(" ")
        yield name, value


def _kinds(text: str) -> tuple[int, int]:
    """Return the first and last number of an ICMP type, or of one of its codes; of all types for no text."""
    kind, slash, code = text.partition("/")
    if not kind:
        return 0, MAX_PORT
    first = int(kind) * 256 + int(code or 0)
    return first, first + (0 if slash else 255)


MACROS: Final[Mapping[str, tuple[Line, ...]]] = dict(map(_macro, " ".join(_MACROS.split()).split("; ")))
"""Proxmox's macros by lower-case name."""
_IPV6_ALONE: Final = ("dhcpv6", "neighbordiscovery")
PROTOCOLS: Final[Mapping[str, int]] = {name: int(value) for name, value in _table(_PROTOCOLS)}
ICMP_TYPES: Final[Mapping[str, tuple[int, int]]] = {name: _kinds(value) for name, value in _table(_ICMP)}
SERVICES: Final[Mapping[str, tuple[int, frozenset[str]]]] = {
    name: (int(value.partition("/")[0]), frozenset(value.partition("/")[2].split("+")))
    for name, value in _table(_SERVICES)
}
_LAST_PROTOCOL: Final = 255
_WITH_PORTS: Final = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}
_BY_NAME: Final = frozenset({"tcp", "sctp"})
"""Protocols of which iptables looks up a single service; for the others it takes that of any protocol."""
_MAX_NUMBERS: Final = 15
"""Maximum numbers in a port list, for iptables and Proxmox; a range is two, and Proxmox skips names."""


@lru_cache(maxsize=4096)
def service(proto: str | None, dport: str | None, sport: str | None) -> PacketMatch:
    """Return the service of a rule without a macro; raises WordError.

    Port 0 and protocol 0 are no restriction: Perl treats a lone `0` as false.
    """
    proto, dport, sport = (None if text == "0" else text or None for text in (proto, dport, sport))
    if proto is None:
        if dport or sport:
            raise WordError(f"{'dport' if dport else 'sport'} without a protocol")
        return PacketMatch(EVERY_PACKET)
    number = protocol_number(proto)
    if proto in ("icmp", "icmpv6", "ipv6-icmp"):
        return _icmp(proto, dport, sport)
    if number == 0 and not (dport or sport):
        return PacketMatch(EVERY_PACKET)
    if (dport or sport) and number not in _WITH_PORTS:
        raise WordError(f"protocol {proto} has no ports")
    known = {6: Protocol.TCP, 17: Protocol.UDP}.get(number, number)
    ports = _ports(dport, number) if dport else ((0, MAX_PORT),)
    sports = _ports(sport, number) if sport else None
    return PacketMatch(tuple(Range(known, low, high) for low, high in ports), sports)


def protocol_number(proto: str) -> int:
    """Return the number of a protocol, given by name or number; raises WordError for an unknown one."""
    if proto == "icmpv6":
        return PROTOCOLS["ipv6-icmp"]
    number = PROTOCOLS.get(proto)
    if number is None and proto.isascii() and proto.isdecimal() and str(int(proto)) == proto:
        number = int(proto) if int(proto) in PROTOCOLS.values() else None
    if number is None:
        raise WordError(f"proto {proto} is unknown")
    if proto.isdecimal() and number > _LAST_PROTOCOL:
        raise KernelError(f"iptables takes no protocol above {_LAST_PROTOCOL} by its number ({proto})")
    return number


def macro_services(
    name: str, proto: str | None, dport: str | None, sport: str | None
) -> tuple[PacketMatch, ...]:
    """Return the services of a macro's lines, narrowed by the rule's own fields; raises WordError."""
    lines = MACROS.get(name.lower())
    if lines is None:
        raise WordError(f"macro {name} is unknown")
    proto, dport, sport = (None if text == "0" else text or None for text in (proto, dport, sport))
    if proto is None and (dport or sport):
        raise WordError(f"{'dport' if dport else 'sport'} without a protocol")
    for line in lines:
        for key, own, given in (
            ("proto", line.proto, proto),
            ("dport", line.dport, dport),
            ("sport", line.sport, sport),
        ):
            if own is not None and given is not None and own != given:
                raise WordError(f"{key} {given} contradicts macro {name}, which says {own}")
    if proto is not None:
        service(proto, dport, sport)
    if name.lower() in _IPV6_ALONE:
        return ()
    return tuple(service(line.proto, line.dport or dport, line.sport or sport) for line in lines)


def _icmp(proto: str, dport: str | None, sport: str | None) -> PacketMatch:
    if sport:
        raise WordError(f"protocol {proto} has no source ports")
    if dport:
        decimal(f"ICMP type {dport}", dport)
        if not {*dport.split(",")} <= {*ICMP_TYPES, *_ICMP_6.split()}:
            _numbers(dport)
    if proto != "icmp":
        if dport and proto == "ipv6-icmp":
            raise CompileError(f"protocol {proto} has no ports")
        if dport and dport not in _ICMP_6.split() and not _small(dport):
            raise CompileError(f"ICMP type {dport} is unknown")
        return PacketMatch(())
    if not dport:
        return PacketMatch((Range(ICMP, 0, MAX_PORT),))
    if dport in ICMP_TYPES:
        return PacketMatch((Range(ICMP, *ICMP_TYPES[dport]),))
    if not _small(dport):
        raise CompileError(f"ICMP type {dport} is unknown")
    return PacketMatch((Range(ICMP, int(dport) * 256, int(dport) * 256 + 255),))


def decimal(what: str, *numbers: str) -> None:
    """Raise OctalError for a number that begins with a zero."""
    if any(number.isdecimal() and number != "0" and number.startswith("0") for number in numbers):
        raise OctalError(f"{what} begins with a zero")


def _small(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) <= 255  # noqa: PLR2004  # an ICMP type's eight bits


def _numbers(text: str) -> Bounds:
    """Return the ports of a list that Proxmox takes; raises WordError."""
    parts = text.split(",")
    found = tuple(map(_port, parts))
    numbers = sum(2 if ":" in part else 1 for part in parts if part[:1].isdecimal())
    if numbers > _MAX_NUMBERS:
        raise WordError(f"list {text} has more than {_MAX_NUMBERS} ports")
    return found


def _ports(text: str, protocol: int) -> Bounds:
    found, parts = _numbers(text), text.split(",")
    name = _WITH_PORTS[protocol]
    if len(parts) == 1 and name == "udplite":
        raise KernelError(f"iptables takes no single port of {name}")
    if len(parts) > 1 and len(parts) + sum(":" in part for part in parts) > _MAX_NUMBERS:
        raise KernelError(f"iptables takes no list of more than {_MAX_NUMBERS} ports ({text})")
    for part in parts if len(parts) > 1 or name in _BY_NAME else ():
        if part in SERVICES and name not in SERVICES[part][1]:
            raise KernelError(f"iptables knows no {part} of {name} ({text})")
    return found


def _port(text: str) -> tuple[int, int]:
    low, colon, high = text.partition(":")
    if not colon and text in SERVICES:
        return (SERVICES[text][0],) * 2
    ends = [low, high] if colon else [low]
    if not all(end.isascii() and end.isdecimal() and int(end) <= MAX_PORT for end in ends):
        raise WordError(f"port {text} is unknown")
    decimal(f"port {text}", *ends)
    if int(low) > int(high or low):
        raise WordError(f"range {text} is backwards")
    return int(low), int(high or low)
