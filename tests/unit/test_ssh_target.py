"""What URI, settings and ssh_config come to."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtfleet.errors import ConfigError
from virtfleet.hypervisor.ssh.config_file import read_config
from virtfleet.hypervisor.ssh.target import LibvirtAddress, is_ssh, resolve
from virtfleet.hypervisor.wire import SshSettings

NONE = SshSettings()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def test_uri_alone(home: Path) -> None:
    target = resolve("qemu+ssh://hv1.example/system", NONE)
    assert (target.host, target.port, target.user) == ("hv1.example", 22, getpass.getuser())
    assert target.identities == ()
    assert target.default_identities == tuple(
        f"{home}/.ssh/{n}" for n in ("id_ed25519", "id_ecdsa", "id_rsa")
    )
    assert target.known_hosts == (f"{home}/.ssh/known_hosts", f"{home}/.ssh/known_hosts2")
    assert target.global_known_hosts[0] == "/etc/ssh/ssh_known_hosts"
    assert target.agent == "/run/agent"
    assert target.libvirt == LibvirtAddress("qemu", "/system")
    assert target.libvirt.uri == "qemu:///system"
    assert target.libvirt.door_uri("/run/a b") == "qemu+unix:///system?socket=/run/a%20b"


def test_the_uri_wins_over_settings_over_config() -> None:
    config = "Host hv1\n User carol\n Port 2\n HostName 10.0.0.1\nHost *\n User dave\n"
    assert resolve("qemu+ssh://hv1/system", NONE, config).user == "carol"
    assert resolve("qemu+ssh://hv1/system", NONE, config).port == 2
    assert resolve("qemu+ssh://hv1/system", NONE, config).host == "10.0.0.1"
    assert resolve("qemu+ssh://hv1/system", SshSettings(user="bob", port=3), config).label == "bob@10.0.0.1:3"
    assert (
        resolve("qemu+ssh://amy@hv1:4/system", SshSettings(user="bob", port=3), config).label
        == "amy@10.0.0.1:4"
    )
    assert resolve("qemu+ssh://other/system", NONE, config).user == "dave"


def test_ipv6() -> None:
    target = resolve("qemu+ssh://root@[2001:db8::1]:2222/system", NONE)
    assert (target.host, target.port, target.label) == ("2001:db8::1", 2222, "root@[2001:db8::1]:2222")
    jump = resolve("lxc+ssh://x/", SshSettings(jump="ops@[::1]:23")).jumps[0]
    assert (jump.host, jump.port, jump.user) == ("::1", 23, "ops")


def test_query_parameters() -> None:
    uri = (
        "qemu+ssh://h/session?socket=/run/x&netcat=/opt/nc&proxy=netcat&mode=legacy&keyfile=/k&known_hosts=/kh"
        "&no_verify=1&command=/bin/ssh"
    )
    target = resolve(uri, SshSettings(identity=("~/mine",), known_hosts=("/other",)))
    assert target.libvirt == LibvirtAddress("qemu", "/session", "/run/x", "netcat", "/opt/nc", "legacy")
    assert target.identities[0] == "/k"
    assert target.identities[1].endswith("/mine")
    assert target.known_hosts == ("/kh",)
    assert target.global_known_hosts == ()
    assert target.ask_unknown
    assert [note.split(":")[0] for note in target.notes] == ["URI", "URI"]
    assert "always checked" in target.notes[0]


def test_checks_are_never_weakened_but_may_be_stricter() -> None:
    weak = resolve(
        "qemu+ssh://h/system", NONE, "Host *\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n"
    )
    assert weak.ask_unknown
    assert weak.known_hosts == ("/dev/null",)
    assert "StrictHostKeyChecking no is ignored" in weak.notes[0]
    assert not resolve("qemu+ssh://h/system", NONE, "StrictHostKeyChecking yes\n").ask_unknown


def test_config_options(home: Path) -> None:
    config = (
        "Host h\n IdentityFile ~/.ssh/a\n IdentityFile %d/b\n IdentitiesOnly yes\n HostKeyAlias farm\n"
        " UserKnownHostsFile ~/k1 /k2\n HashKnownHosts yes\n IdentityAgent none\n"
    )
    target = resolve("qemu+ssh://h/system", SshSettings(identity=("/first",)), config)
    assert target.identities == ("/first", f"{home}/.ssh/a", f"{home}/b")
    assert target.default_identities == ()
    assert target.identities_only
    assert target.hash_known_hosts
    assert target.alias == "farm"
    assert target.known_hosts == (f"{home}/k1", "/k2")
    assert target.agent == ""


def test_jump_chain_in_order_with_options_of_its_own() -> None:
    config = (
        "Host outer\n HostName 10.0.0.9\n User gate\n Port 99\nHost hv*\n ProxyJump outer,ops@inner:2200\n"
    )
    target = resolve("qemu+ssh://hv1/system", SshSettings(user="root", port=23, identity=("/k",)), config)
    assert [jump.label for jump in target.jumps] == ["gate@10.0.0.9:99", "ops@inner:2200"]
    assert all(jump.identities == ("/k",) for jump in target.jumps)
    assert all(jump.jumps == () and jump.libvirt is None for jump in target.jumps)
    assert [jump.host for jump in resolve("qemu+ssh://hv1/system", SshSettings(jump="x"), config).jumps] == [
        "x"
    ]
    assert resolve("qemu+ssh://hv1/system", SshSettings(jump="none"), config).jumps == ()


def test_a_jump_host_behind_a_jump_host() -> None:
    config = "Host a\n ProxyJump b\nHost b\n ProxyJump c\nHost hv1\n ProxyJump a\n"
    assert [jump.host for jump in resolve("qemu+ssh://hv1/system", NONE, config).jumps] == ["c", "b", "a"]
    with pytest.raises(ConfigError, match="circle"):
        resolve("qemu+ssh://a/system", NONE, "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")


def test_proxy_command() -> None:
    config = "Host h\n ProxyCommand exec nc -X 5 %h %p\nHost s\n ProxyCommand nc %h %p 2>/dev/null\n"
    assert resolve("qemu+ssh://h:2/system", NONE, config).proxy_command[:3] == ("nc", "-X", "5")
    with pytest.raises(ConfigError, match="shell"):
        resolve("qemu+ssh://s/system", NONE, config)


def test_conditions_that_cannot_be_decided_never_apply(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    config = f"""
Match exec "touch {trap}"
  User evil
Match localnetwork 10.0.0.0/8
  User odd
Match host h
  User good
"""
    target = resolve("qemu+ssh://h/system", NONE, config)
    assert target.user == "good"
    assert not trap.exists()
    assert len(target.notes) == 2


def test_includes_are_read(home: Path) -> None:
    ssh = home / ".ssh"
    (ssh / "config").write_text("Include config.d/*\nHost hv1\n Include ports\nHost *\n User last\n")
    (ssh / "config.d").mkdir()
    (ssh / "config.d" / "a").write_text("Host hv1\n User included\n")
    (ssh / "ports").write_text("Port 77\n")
    text = read_config(None)
    assert resolve("qemu+ssh://hv1/system", NONE, text).label == "included@hv1:77"
    assert resolve("qemu+ssh://hv2/system", NONE, text).label == "last@hv2"
    assert read_config("") == ""
    with pytest.raises(ConfigError, match="can't read"):
        read_config(str(home / "absent"))


def test_a_file_that_includes_itself_ends(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Include config\nHost x\n Port 5\n")
    assert resolve("qemu+ssh://x/system", NONE, read_config(None)).port == 5


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///system",
        "qemu+tls://h/system",
        "qemu+ssh:///system",
        "qemu+ssh://h:99999/system",
        "qemu+ssh://-oProxyCommand=x/system",
        "qemu+ssh://-u@h/system",
        "qemu+ssh://[::1/system",
        "qemu+ssh://h/system?proxy=magic",
        "qemu+ssh://h/system?mode=magic",
    ],
)
def test_refused(uri: str) -> None:
    with pytest.raises(ConfigError):
        resolve(uri, NONE)


def test_a_password_in_the_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve("qemu+ssh://root:hunter2@h/system", NONE)
    assert "hunter2" not in f"{caught.value} {caught.value.cure}"


def test_hostname_from_config_is_checked_too() -> None:
    with pytest.raises(ConfigError):
        resolve("qemu+ssh://h/system", NONE, "HostName -oX\n")
    with pytest.raises(ConfigError):
        resolve("qemu+ssh://h/system", NONE, "Port x\n")


def test_is_ssh() -> None:
    assert is_ssh("qemu+ssh://h/system")
    assert not is_ssh("qemu+tls://h/system")
    assert not is_ssh("test:///default")


@given(st.text(max_size=200), st.text(max_size=60))
def test_any_text_gives_a_target_or_a_config_error(config: str, rest: str) -> None:
    try:
        target = resolve(f"qemu+ssh://{rest}", NONE, config)
    except ConfigError:
        return
    assert target.host
    assert not target.host.startswith("-")
