"""Run a program with a deadline and say clearly what failed.

Everything the lab starts goes through here, so that no step of it can hang a test session.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from lab.errors import LabError

SBIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment that does not depend on who called: no agent, no locale, sbin on the path."""
    env = {"PATH": SBIN_PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    if extra:
        env.update(extra)
    return env


def run(
    argv: Sequence[str],
    *,
    timeout: float = 30.0,
    check: bool = True,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `argv`, give its output as text.

    Raises `LabError` when it fails (if `check`) or does not end within `timeout` seconds.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=clean_environment(env),
            cwd=cwd,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(argv)}: no end after {timeout:g} s") from error
    except OSError as error:
        raise LabError(f"{argv[0]}: {error.strerror}") from error
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"{' '.join(argv)[:400]}: exit code {done.returncode}: {said}")
    return done


def wait_until(true: Callable[[], bool], what: str, *, timeout: float = 30.0, interval: float = 0.02) -> None:
    """Poll `true` until it holds; `LabError` naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)
        interval = min(interval * 1.5, 0.25)
