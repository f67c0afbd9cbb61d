"""A real PostgreSQL server for tests: in a folder of its own, on a Unix socket alone, never run by root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

USER, PASSWORD = "virtfleet", "s3cret-of-the-store"


def programs() -> Path | None:
    """Where `initdb` and `postgres` are; None: not installed. Debian keeps them off the PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return next((path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)


class Postgres:
    """Started by `start`; `url` leads to an empty database of `USER`, who must give `PASSWORD`."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self.folder = folder
        self.url = f"postgresql://{USER}@/postgres?host={folder}"
        self._bin = bin_folder
        # The server refuses to run as root.
        self._user = None if os.geteuid() else _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        password = folder / "password"
        password.write_text(PASSWORD)
        if self._user is not None:
            for path in (folder, password):
                os.chown(path, pwd.getpwnam(self._user).pw_uid, -1)
        subprocess.run(
            [
                *(str(bin_folder / "initdb"), "--pgdata", str(folder / "data"), "--no-sync"),
                *("--username", USER, "--pwfile", str(password), "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--locale", "C"),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            user=self._user,
            cwd=folder,
        )

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    *(str(self._bin / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder)),
                    *("-F", "-c", "listen_addresses=", "-c", "max_connections=20"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self.folder,
            )
        until = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)

    def connect(self) -> psycopg.Connection[Any]:
        """Past what is tested, and in no transaction."""
        return psycopg.connect(self.url, password=PASSWORD, autocommit=True)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """At once, as in a power cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None


def _unprivileged() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise RuntimeError("no unprivileged user")


@contextlib.contextmanager
def server() -> Iterator[Postgres]:
    """One that runs. Skips (in CI, as root: fails) where it is not installed."""
    found = programs()
    if found is None:
        why = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        if os.environ.get("CI", "").lower() in ("1", "true", "yes") and os.geteuid() == 0:
            pytest.fail(why)
        pytest.skip(why)
    # Not pytest's tmp_path: others can't enter that, and the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="vf-pg-") as folder:
        made = Postgres(Path(folder), found)
        try:
            made.start()
            yield made
        finally:
            made.stop()
