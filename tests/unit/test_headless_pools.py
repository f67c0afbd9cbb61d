"""`pool VERB`: which pools a name means, and what is refused before anything is connected to."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.plan_objects import fleet, host, pool
from virtfleet.errors import AmbiguousError, NotFoundError, RefusedError
from virtfleet.headless.cli import run
from virtfleet.headless.pool_acting import refs
from virtfleet.model.action_storage import PoolRef
from virtfleet.query.rows import pool_rows

_CREATE = [
    "--demo",
    "pool",
    "create",
    "p",
    "--host",
    "hv1",
    "--type",
    "iscsi-direct",
    "--auth-user",
    "u",
    "--secret",
]
ROWS = list(
    pool_rows(
        fleet(
            host("hv1", pools=(pool("data", identity="probe:1"), pool("own", identity="local:hv1:/o"))),
            host("hv2", pools=(pool("other", identity="probe:1"), pool("own", identity="local:hv2:/o"))),
        )
    )
)
HOSTS = ("hv1", "hv2")


@pytest.mark.parametrize("secret", ["hunter2", "env:", "file:/nowhere/hunter2"])
def test_a_secret_in_plain_text_is_refused_and_not_repeated(
    secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*_CREATE, secret]) == 2
    text = capsys.readouterr().err
    assert "--secret: " in text
    if not secret.startswith("file:"):
        assert "env:NAME, file:PATH (mode 0600) or prompt" in text
        assert "hunter2" not in text


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "chap"
    file.write_text("hunter2")
    file.chmod(0o644)
    assert run([*_CREATE, f"file:{file}"]) == 2
    text = capsys.readouterr().err
    assert "can be read by others" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("pool create p --host hv1 --type dir --build --overwrite", "--build and --overwrite exclude"),
        ("pool create p --host hv1 --type rbd --auth-user u", "--auth-user and --secret go together"),
        ("pool create p --host hv1, --type dir", "a host's name is empty; accepted: --host A,B,C"),
        ("pool delete p --with-volumes --keep-volumes", "--with-volumes and --keep-volumes exclude"),
        ("pool create p --type dir", "Missing option '--host'"),
    ],
)
def test_what_can_not_be_meant(line: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--demo", *line.split()]) == 2
    assert says in capsys.readouterr().err


def test_a_name_means_a_storage_on_all_its_hosts() -> None:
    both = (PoolRef("hv1", "p-data", "data"), PoolRef("hv2", "p-other", "other"))
    assert refs("data", (), ROWS, HOSTS) == refs("other", (), ROWS, HOSTS) == both
    assert refs("data@hv1", (), ROWS, HOSTS) == both[:1]
    assert refs("data", ("hv1",), ROWS, HOSTS) == both[:1]
    assert refs("own", ("hv1", "hv2"), ROWS, HOSTS) == (
        PoolRef("hv1", "p-own", "own"),
        PoolRef("hv2", "p-own", "own"),
    )
    with pytest.raises(AmbiguousError, match="own@hv1, own@hv2"):
        refs("own", (), ROWS, HOSTS)
    with pytest.raises(NotFoundError, match="no pool nope@hv2"):
        refs("nope", ("hv2",), ROWS, HOSTS)
    with pytest.raises(RefusedError, match="not both"):
        refs("own@hv1", ("hv2",), ROWS, HOSTS)
