"""Each kind of mistake in a fleet file, with the whole message that a person reads."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest

from virtfleet.config.load import MAX_BYTES, load
from virtfleet.config.uri import DRIVERS, TRANSPORTS
from virtfleet.errors import ConfigError

HOST_KEYS = (
    "allocation_ratio, disabled, fence, interval, migration_address, networks_interval, pools_interval, "
    "projects, reserved, ssh, traits, uri, volumes_interval, zone"
)
SSH_KEYS = "agent, config, connect_timeout, identity, jump, known_hosts, port, user"
TOP_KEYS = (
    "defaults, flavors, groups, hosts, images, limits, name, pci_aliases, projects, "
    "scheduler, store, ui, volume_types, zones"
)
SECRETS = "env:NAME, file:PATH (mode 0600) or prompt"


def failure(path: Path, text: str) -> str:
    """What `load` says about `text`; the path is shortened to FILE."""
    file = path / "fleet.yaml"
    file.write_text(dedent(text).lstrip("\n"))
    with pytest.raises(ConfigError) as caught:
        load(file)
    return str(caught.value).replace(str(path), "DIR").replace("DIR/fleet.yaml", "FILE")


CASES = {
    "wrong type": (
        """
        hosts:
          hv1:
            uri: qemu:///system
            ssh: {port: ssh}
        """,
        'FILE:4: hosts.hv1.ssh.port: found the text "ssh"; accepted: a whole number from 1 to 65535',
    ),
    "boolean for a number": (
        "hosts: {hv1: {uri: 'qemu:///system', interval: true}}",
        "FILE:1: hosts.hv1.interval: found the boolean true; accepted: a number from 0.5 to 3600",
    ),
    "number out of range": (
        "hosts: {hv1: {uri: 'qemu:///system', interval: 0}}",
        "FILE:1: hosts.hv1.interval: found the number 0; accepted: a number from 0.5 to 3600",
    ),
    "not a number at all": (
        "hosts: {hv1: {uri: 'qemu:///system', allocation_ratio: {cpu: .nan}}}",
        'FILE:1: hosts.hv1.allocation_ratio.cpu: found the text ".nan"; '
        "accepted: a number above 0, at most 1000",
    ),
    "word that YAML takes for a boolean": (
        """
        hosts:
          hv1:
            uri: qemu:///system
            zone: no
        """,
        "FILE:4: hosts.hv1.zone: found the boolean false; accepted: text (put it in quotes)",
    ),
    "number for a text": (
        "hosts: {hv1: {uri: 'qemu:///system', zone: 2}}",
        "FILE:1: hosts.hv1.zone: found the number 2; accepted: text (put it in quotes)",
    ),
    "list of the wrong things": (
        "hosts: {hv1: {uri: 'qemu:///system', traits: [ssd, {a: b}]}}",
        "FILE:1: hosts.hv1.traits[1]: found a mapping; accepted: text",
    ),
    "mapping for a list": (
        "hosts: {hv1: {uri: 'qemu:///system', traits: {ssd: true}}}",
        "FILE:1: hosts.hv1.traits: found a mapping; accepted: a list, or one value",
    ),
    "text for a host": (
        "hosts: {hv1: qemu+ssh://hv1/system}",
        'FILE:1: hosts.hv1: found the text "qemu+ssh://hv1/system"; '
        f"accepted: a mapping with the keys {HOST_KEYS}",
    ),
    "list of hosts": (
        "hosts: [hv1, hv2]",
        "FILE:1: hosts: found a list; accepted: a mapping from names to their settings",
    ),
    "unknown key": (
        """
        hosts:
          hv1:
            uri: qemu:///system
            ssh:
              usr: root
        """,
        f'FILE:5: hosts.hv1.ssh: unknown key "usr"; did you mean "user"? (accepted: {SSH_KEYS})',
    ),
    "unknown key of a host, nothing like it": (
        "hosts: {hv1: {uri: 'qemu:///system', colour: red}}",
        f'FILE:1: hosts.hv1: unknown key "colour" (accepted: {HOST_KEYS})',
    ),
    "internal key": (
        "hosts: {hv1: {uri: 'test:///default', simulate: 1}}",
        f'FILE:1: hosts.hv1: unknown key "simulate" (accepted: {HOST_KEYS})',
    ),
    "unknown section": (
        "host: {hv1: {uri: 'qemu:///system'}}",
        f'FILE:1: unknown key "host"; did you mean "hosts"? (accepted: {TOP_KEYS})',
    ),
    "mistake in the defaults": (
        "defaults: {ssh: {agent: maybe}}\nhosts: {}",
        'FILE:1: defaults.ssh.agent: found the text "maybe"; accepted: true or false',
    ),
    "key that can't be a default": (
        "defaults: {uri: 'qemu:///system'}\nhosts: {}",
        'FILE:1: defaults: unknown key "uri" (accepted: allocation_ratio, fence, interval, '
        "networks_interval, pools_interval, reserved, ssh, traits, volumes_interval, zone)",
    ),
    "missing key": (
        "hosts:\n  hv1: {zone: a}",
        'FILE:2: hosts.hv1: the key "uri" is missing',
    ),
    "duplicate host": (
        """
        hosts:
          hv1: {uri: "qemu:///system"}
          hv2: {uri: "qemu:///system"}
          hv1: {uri: "lxc:///"}
        """,
        'FILE:4: the key "hv1" is given twice; first on line 2',
    ),
    "duplicate key": (
        "hosts:\n  hv1:\n    uri: qemu:///system\n    zone: a\n    zone: b\n",
        'FILE:5: the key "zone" is given twice; first on line 4',
    ),
    "bad size": (
        "hosts: {}\nflavors:\n  small: {vcpus: 1, memory: 512MoB}",
        'FILE:3: flavors.small.memory: found the text "512MoB"; '
        "accepted: a size like 512MiB, 10GiB or a number of bytes",
    ),
    "negative size": (
        "hosts: {}\nflavors:\n  small: {vcpus: 1, memory: -1}",
        "FILE:3: flavors.small.memory: found the number -1; "
        "accepted: a size like 512MiB, 10GiB or a number of bytes",
    ),
    "unknown word": (
        "hosts: {}\nvolume_types: {fast: {provisioning: thinn}}",
        'FILE:2: volume_types.fast.provisioning: found the text "thinn"; accepted: thick, thin',
    ),
    "missing identity": (
        "hosts: {hv1: {uri: 'qemu+ssh://hv1/system', ssh: {identity: keys/id}}}",
        "FILE:1: hosts.hv1.ssh.identity[0]: the file DIR/keys/id can't be read: No such file or directory",
    ),
    "missing secret file": (
        """
        hosts:
          hv1:
            uri: qemu:///system
            fence: {agent: fence_ipmilan, secrets: {password: "file:bmc"}}
        """,
        "FILE:4: hosts.hv1.fence.secrets.password: the file DIR/bmc can't be read: No such file or directory",
    ),
    "secret in plain text": (
        "hosts: {hv1: {uri: 'qemu:///system', fence: {agent: fence_x, secrets: {password: hunter2}}}}",
        "FILE:1: hosts.hv1.fence.secrets.password: a secret in plain text is not accepted here (not shown); "
        f"write {SECRETS}",
    ),
    "numeric secret": (
        "hosts: {hv1: {uri: 'qemu:///system', fence: {agent: fence_x, secrets: {password: 12345}}}}",
        "FILE:1: hosts.hv1.fence.secrets.password: a secret in plain text is not accepted here (not shown); "
        f"write {SECRETS}",
    ),
    "program that is no fence agent": (
        "hosts: {hv1: {uri: 'qemu:///system', fence: {agent: /bin/sh}}}",
        'FILE:1: hosts.hv1.fence.agent: found the text "/bin/sh"; accepted: text like ^fence_[a-z0-9_]+$',
    ),
    "unknown scheme": (
        "hosts:\n  hv1:\n    zone: a\n    uri: qmeu+ssh://hv1/system\n",
        'FILE:4: hosts.hv1.uri: found "qmeu+ssh://hv1/system": unknown scheme "qmeu"; '
        f'did you mean "qemu"? (accepted: {", ".join(DRIVERS)})',
    ),
    "unknown transport": (
        "hosts: {hv1: {uri: 'qemu+sssh://hv1/system'}}",
        'FILE:1: hosts.hv1.uri: found "qemu+sssh://hv1/system": unknown transport "sssh"; '
        f'did you mean "ssh"? (accepted: {", ".join(TRANSPORTS)})',
    ),
    "no URI": (
        "hosts: {hv1: {uri: hv1.example}}",
        'FILE:1: hosts.hv1.uri: found "hv1.example": no scheme; accepted: a URI like qemu+ssh://HOST/system',
    ),
    "URI without its host": (
        "hosts: {hv1: {uri: 'qemu+ssh:///system'}}",
        'FILE:1: hosts.hv1.uri: found "qemu+ssh:///system": no host; '
        "accepted: a URI like qemu+ssh://HOST/system",
    ),
    "host name that a shell would misread": (
        "hosts: {'hv1@a': {uri: 'qemu:///system'}}",
        'FILE:1: hosts: found the name "hv1@a"; accepted: letters, digits, dot, dash and underscore, '
        "at most 63, the first no dot or dash",
    ),
    "number as a name": (
        "hosts:\n  1: {uri: 'qemu:///system'}",
        "FILE:2: found the number 1 as a key; accepted: text (put it in quotes)",
    ),
    "escape sequence in a value": (
        'hosts: {hv1: {uri: "qemu:///system", zone: "\\e[2J"}}',
        "FILE:1: hosts.hv1.zone: found control characters in '\\x1b[2J'",
    ),
    "syntax": (
        "hosts:\n  hv1: {uri: qemu:///system\nname: x\n",
        "FILE:3: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'",
    ),
    "tab": (
        "hosts:\n\thv1: {}\n",
        "FILE:2: not valid YAML: while scanning for the next token, "
        "found character that cannot start any token",
    ),
    "object tag": (
        "hosts: !!python/object/apply:os.system ['true']",
        "FILE:1: the tag tag:yaml.org,2002:python/object/apply:os.system is not accepted",
    ),
    "alias of nothing": (
        "hosts: *x",
        "FILE:1: the alias *x repeats nothing: there is no &x",
    ),
    "endless alias": (
        "hosts: &x {a: *x}",
        "FILE:1: the alias *x stands inside what it repeats",
    ),
    "second document": (
        "hosts: {}\n---\nhosts: {}\n",
        "FILE:2: a second YAML document in one file; use a folder of files instead",
    ),
    "empty file": (
        "# nothing yet\n",
        "FILE: there is nothing in it; a fleet file starts like this: "
        "hosts: {hv1: {uri: qemu+ssh://hv1/system}}",
    ),
    "a text for a file": (
        "hello",
        f'FILE:1: found the text "hello"; accepted: a mapping with the keys {TOP_KEYS}',
    ),
    "no hosts": (
        "name: prod",
        'FILE: the key "hosts" is missing; write hosts: {} for a fleet without hosts',
    ),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_mistake(case: str, tmp_path: Path) -> None:
    text, expected = CASES[case]
    assert failure(tmp_path, text) == expected


def test_a_password_in_the_uri_is_refused_and_the_message_is_about_it(tmp_path: Path) -> None:
    assert failure(tmp_path, "hosts: {hv1: {uri: 'esx://root:hunter2@esx1/'}}") == (
        'FILE:1: hosts.hv1.uri: found "esx://root:…@esx1/": '
        "a password in the URI would be shown on screen; leave it out, it is asked for"
    )
    for uri in ("exs://root:hunter@2@esx1/", "esx://root:hunter2@[/"):
        assert "hunter" not in failure(tmp_path, f"hosts: {{hv1: {{uri: '{uri}'}}}}")


def test_world_readable_secret(tmp_path: Path) -> None:
    (tmp_path / "bmc").write_text("x")
    (tmp_path / "bmc").chmod(0o644)
    text = "hosts: {hv1: {uri: 'qemu:///system', fence: {agent: fence_x, secrets: {password: 'file:bmc'}}}}"
    assert failure(tmp_path, text) == (
        "FILE:1: hosts.hv1.fence.secrets.password: the secret file DIR/bmc can be read by others "
        "(mode 0644); chmod 600 DIR/bmc"
    )


def test_world_readable_identity(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("x")
    (tmp_path / "id").chmod(0o640)
    text = "hosts: {}\ndefaults: {ssh: {identity: id}}"
    assert failure(tmp_path, text) == (
        "FILE:2: defaults.ssh.identity[0]: the secret file DIR/id can be read by others "
        "(mode 0640); chmod 600 DIR/id"
    )


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.yaml")
    assert (
        str(caught.value) == f"{tmp_path}/none.yaml: the fleet file can't be read: No such file or directory"
    )


def test_a_fifo_does_not_make_us_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fleet.yaml")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "fleet.yaml")
    assert str(caught.value) == f"{tmp_path}/fleet.yaml: not a regular file"


def test_too_large(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    with file.open("wb") as out:
        out.truncate(MAX_BYTES + 1)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: larger than 10 MiB; a folder of files may hold more"


def test_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_bytes(b"hosts: {}\nname: \xff\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value) == f"{file}:2: not UTF-8 text"


def test_bomb_of_aliases(tmp_path: Path) -> None:
    """Ten levels of ten aliases each would be ten thousand million values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    message = failure(tmp_path, "\n".join(lines))
    assert message == "FILE:6: more than 1,000,000 values once its aliases are expanded"


def test_too_deep(tmp_path: Path) -> None:
    assert failure(tmp_path, "hosts: " + "[" * 5000) == "FILE:1: nested more than 32 deep"


def test_duplicate_host_across_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("hosts:\n  hv1: {uri: 'qemu:///system'}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{tmp_path}/b.yaml:2: hosts.hv1 is given twice; first at {tmp_path}/a.yaml:2"


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no *.yaml or *.yml in this folder"
