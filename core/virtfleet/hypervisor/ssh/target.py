"""Where a `+ssh` URI leads: address, user, keys, known_hosts and jumps.

Three say something: the URI, the fleet file's settings, ssh_config. The more
specific wins, in that order; identities add up. What would weaken the check of
host keys (`no_verify`, `StrictHostKeyChecking no`) is never honoured, and said
in `notes`.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import msgspec

from virtfleet.errors import ConfigError
from virtfleet.hypervisor.ssh.config_file import lookup
from virtfleet.hypervisor.wire import SshSettings

DEFAULT_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")
USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
TRANSPORTS = ("ssh", "libssh", "libssh2")
"""URI transports that mean SSH; all of them are ours."""

_HOST = re.compile(r"[A-Za-z0-9_.:%-]+")
_USER = re.compile(r"[^\s\x00-\x1f\x7f:@/]+")
_SHELL = set("|&;<>()$`\n*?[]{}~#")
_HOPS = 8
_PROXIES = ("auto", "native", "netcat")
_MODES = ("auto", "legacy", "direct")


class LibvirtAddress(msgspec.Struct, frozen=True):
    """What the URI says of libvirtd once we are on its host."""

    driver: str
    """qemu, lxc, xen..."""
    path: str = "/system"
    """/system, /session, /..."""
    socket: str = ""
    """Path of libvirtd's socket on the host; empty: found out there."""
    proxy: str = "auto"
    """auto, native (virt-ssh-helper) or netcat."""
    netcat: str = "nc"
    mode: str = "auto"
    """auto, legacy (libvirtd) or direct (virtqemud...)."""
    read_only: bool = False

    @property
    def uri(self) -> str:
        """The URI as it reads on the host itself."""
        return f"{self.driver}://{self.path}"

    def door_uri(self, socket_path: str) -> str:
        """The URI that reaches it through our own door at `socket_path`."""
        return f"{self.driver}+unix://{self.path}?socket={quote(socket_path)}"


class SshTarget(msgspec.Struct, frozen=True):
    """One SSH server and how to log in to it."""

    host: str
    """Name or address to connect to (HostName)."""
    port: int = 22
    user: str = "root"
    alias: str = ""
    """Name under which its key is looked up (HostKeyAlias); empty: `host`."""
    identities: tuple[str, ...] = ()
    """Key files that somebody asked for, in their order."""
    default_identities: tuple[str, ...] = ()
    """Key files tried because they are the usual ones."""
    certificates: tuple[str, ...] = ()
    """Files of certificates for keys, besides KEY-cert.pub beside each (CertificateFile)."""
    identities_only: bool = False
    """Of the agent's keys only those that `identities` names."""
    agent: str = ""
    """Socket of ssh-agent; empty: none."""
    known_hosts: tuple[str, ...] = ()
    """Files to read; an accepted key goes to the first."""
    global_known_hosts: tuple[str, ...] = ()
    hash_known_hosts: bool = False
    ask_unknown: bool = True
    """False: an unknown host key is refused without a question (StrictHostKeyChecking yes)."""
    jumps: tuple[SshTarget, ...] = ()
    """Hosts to pass through, nearest first. They have no jumps of their own."""
    proxy_command: tuple[str, ...] = ()
    """Program whose standard streams are the connection, instead of TCP."""
    libvirt: LibvirtAddress | None = None
    notes: tuple[str, ...] = ()
    """What was found and not honoured, and why; for `host check`."""

    @property
    def label(self) -> str:
        """user@host, with the port where it is not 22."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" + ("" if self.port == 22 else f":{self.port}")


class _Spec(msgspec.Struct, frozen=True):
    """[user@]host[:port] as somebody wrote it."""

    host: str
    user: str = ""
    port: int | None = None


def is_ssh(uri: str) -> bool:
    """Whether a URI's transport is SSH, so that `resolve` understands it."""
    return urlsplit(uri).scheme.partition("+")[2] in TRANSPORTS


def resolve(uri: str, settings: SshSettings, config_text: str = "") -> SshTarget:
    """What `uri`, `settings` and `config_text` (see config_file.read_config) come to.

    Reads no file and asks no DNS; of the environment HOME, SSH_AUTH_SOCK and the login name.
    Raises ConfigError: not an SSH URI, a bad port, an option that can't be understood, jumps in a circle.
    """
    try:
        parts = urlsplit(uri)
        spec = _Spec(unquote(parts.hostname or ""), unquote(parts.username or ""), parts.port)
    except ValueError as error:
        raise ConfigError(f"not a usable URI: {error}") from error
    if parts.password is not None:
        raise ConfigError("the URI contains a password", cure="leave it out: it will be asked for")
    driver, _, transport = parts.scheme.partition("+")
    if transport not in TRANSPORTS or not spec.host:
        raise ConfigError(f"not an SSH URI: {uri}", cure="qemu+ssh://[USER@]HOST[:PORT]/system")
    libvirt, query, notes = _libvirt(driver, parts)
    settings = msgspec.structs.replace(
        settings,
        user=spec.user or settings.user,
        port=spec.port or settings.port,
        identity=(*_listed(query.get("keyfile")), *settings.identity),
        known_hosts=tuple(_listed(query.get("known_hosts"))) or settings.known_hosts,
    )
    target = _host(_Spec(spec.host, settings.user, settings.port), settings, config_text, settings.jump, ())
    return msgspec.structs.replace(target, libvirt=libvirt, notes=(*notes, *target.notes))


def _libvirt(driver: str, parts: SplitResult) -> tuple[LibvirtAddress, dict[str, str], list[str]]:
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    notes: list[str] = []
    if query.get("no_verify", "0") not in ("", "0") or query.get("known_hosts_verify", "normal") != "normal":
        notes.append("URI: host keys are always checked; no_verify and known_hosts_verify are ignored")
    ignored = [name for name in ("command", "sshauth", "no_tty") if name in query]
    notes += [f"URI: {name} is ignored; virtfleet speaks SSH itself" for name in ignored]
    proxy, mode = query.get("proxy", "auto"), query.get("mode", "auto")
    if proxy not in _PROXIES:
        raise ConfigError(f"URI: proxy={proxy} is not one of {', '.join(_PROXIES)}")
    if mode not in _MODES:
        raise ConfigError(f"URI: mode={mode} is not one of {', '.join(_MODES)}")
    address = LibvirtAddress(
        driver=driver,
        path=parts.path or "/",
        socket=query.get("socket", ""),
        proxy=proxy,
        netcat=query.get("netcat") or "nc",
        mode=mode,
    )
    return address, query, notes


def _host(
    spec: _Spec, settings: SshSettings, config_text: str, jump: str, passed: tuple[_Spec, ...]
) -> SshTarget:
    """One hop. `jump`: what is known to lead to it; empty: ssh_config may say; none: nothing does."""
    _check(spec)
    if spec in passed or len(passed) >= _HOPS:
        way = " -> ".join(each.host for each in (*passed, spec))
        raise ConfigError(f"jump hosts lead in a circle: {way}")
    options, notes = lookup(config_text, spec.host)

    def option(name: str, default: str = "") -> str:
        value = options.get(name, default)
        return value if isinstance(value, str) else value[0]

    checking = option("stricthostkeychecking").lower()
    if checking in ("no", "off", "accept-new"):
        notes += (f"ssh_config: StrictHostKeyChecking {checking} is ignored; unknown keys are asked about",)
    configured = _all(options.get("identityfile"))
    identities = dict.fromkeys(_path(path) for path in (*settings.identity, *configured))
    usual = () if identities else DEFAULT_IDENTITIES
    own = settings.known_hosts
    user_files = own or option("userknownhostsfile").split() or USER_KNOWN_HOSTS
    global_files = () if own else option("globalknownhostsfile").split() or GLOBAL_KNOWN_HOSTS
    jump = jump or option("proxyjump")
    target = SshTarget(
        host=option("hostname", spec.host).strip("[]"),
        port=spec.port or _port(option("port", "22")),
        user=spec.user or option("user") or getpass.getuser(),
        alias=option("hostkeyalias"),
        identities=tuple(identities),
        default_identities=tuple(_path(f"~/.ssh/{name}") for name in usual),
        certificates=tuple(_path(path) for path in _all(options.get("certificatefile"))),
        identities_only=option("identitiesonly").lower() == "yes",
        agent=_agent(option("identityagent")) if settings.agent else "",
        known_hosts=_paths(user_files),
        global_known_hosts=_paths(global_files),
        hash_known_hosts=option("hashknownhosts").lower() == "yes",
        ask_unknown=checking not in ("yes", "strict"),
        jumps=_jumps(jump, settings, config_text, (*passed, spec)),
        proxy_command=() if jump else _command(option("proxycommand")),
        notes=notes,
    )
    _check(_Spec(target.host, target.user, target.port))
    return target


def _jumps(
    jump: str, settings: SshSettings, config_text: str, passed: tuple[_Spec, ...]
) -> tuple[SshTarget, ...]:
    """The chain of a ProxyJump. Only its first host may itself be reached through others, as in OpenSSH."""
    if not jump or jump.lower() == "none":
        return ()
    # A jump host is another machine: user and port of the fleet file are not meant for it, keys are.
    settings = msgspec.structs.replace(settings, user="", port=None, jump="")
    chain: list[SshTarget] = []
    for number, text in enumerate(jump.split(",")):
        hop = _host(_hop(text.strip()), settings, config_text, "" if number == 0 else "none", passed)
        chain += [*hop.jumps, msgspec.structs.replace(hop, jumps=())]
    if len(chain) > _HOPS:
        raise ConfigError(f"more than {_HOPS} jump hosts")
    return tuple(chain)


def _hop(text: str) -> _Spec:
    try:
        parts = urlsplit(text if text.startswith("ssh://") else f"ssh://{text}")
        return _Spec(unquote(parts.hostname or ""), unquote(parts.username or ""), parts.port)
    except ValueError as error:
        raise ConfigError(f"not a jump host: {text!r} ({error})", cure="[USER@]HOST[:PORT]") from error


def _check(spec: _Spec) -> None:
    if not _HOST.fullmatch(spec.host) or spec.host.startswith("-"):
        raise ConfigError(f"not a host name: {spec.host!r}")
    if spec.user and (not _USER.fullmatch(spec.user) or spec.user.startswith("-")):
        raise ConfigError(f"not a user name: {spec.user!r}")
    if spec.port is not None and not 0 < spec.port < 65536:
        raise ConfigError(f"not a port: {spec.port}")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"not a port: {text!r}", where="ssh_config")
    return int(text)


def _command(text: str) -> tuple[str, ...]:
    """ProxyCommand as arguments. No shell: what needs one is refused."""
    if not text or text.lower() == "none":
        return ()
    if _SHELL & set(text):
        raise ConfigError(
            "ProxyCommand needs a shell, which virtfleet does not start",
            where="ssh_config",
            cure="use ProxyJump, or put the command into a script",
        )
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"ProxyCommand: {error}", where="ssh_config") from error
    return tuple(words[1:] if words[:1] == ["exec"] else words)


def _agent(option: str) -> str:
    if option.lower() == "none":
        return ""
    if option and option != "SSH_AUTH_SOCK":
        return _path(os.environ.get(option[1:], "") if option.startswith("$") else option)
    return os.environ.get("SSH_AUTH_SOCK", "")


def _all(values: str | list[str] | None) -> list[str]:
    """Of an option that may be given several times."""
    return [
        each for each in ([values] if isinstance(values, str) else values or []) if each.lower() != "none"
    ]


def _listed(text: str | None) -> list[str]:
    return [part for part in (text or "").split(",") if part]


def _path(text: str) -> str:
    return os.path.expanduser(text.replace("%d", str(Path.home())).replace("%%", "%"))


def _paths(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(_path(text) for text in texts if text.lower() != "none")
