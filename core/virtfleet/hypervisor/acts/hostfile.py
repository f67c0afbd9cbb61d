"""Changes what the host's own file says, under its lock: two operators at once lose nothing.

Read, change, write: the writing looks again whether the file is still the one
that was read, puts the new one beside it and renames it, so that whoever reads
sees the old or the new one, whole. A file that can't be understood is put
aside, never overwritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from virtfleet.errors import DeadlineError, HostError, RefusedError
from virtfleet.hypervisor import hostfile
from virtfleet.hypervisor.acts.hostlock import host_lock
from virtfleet.hypervisor.call import Call, Operation
from virtfleet.hypervisor.watch_marks import MarkWatch
from virtfleet.model import Mark

_WITHIN = 10.0
"""Seconds for one program on the host: all of them together end before the lock does."""
_WAIT = 20.0
"""Seconds to wait for whoever writes our own notes."""
_LONGEST_PRINTED = 1000

_READ = f"f=$1; {hostfile.LOOK}"
_WRITE = f"""
umask 022
mkdir -p "$1" || exit 1
f=$1/$2
now=$({hostfile.LOOK.replace(hostfile.COPY, "")})
[ "$now" = file ] && now=$(head -c {hostfile.LIMIT + 1} "$f" | sha256sum) && now=${{now%% *}}
[ "$now" = "$3" ] || {{ echo changed; exit 0; }}
temp=$(mktemp "$f.XXXXXX") || exit 1
trap 'rm -f "$temp"' EXIT
printf %s "$4" >"$temp" && chmod 644 "$temp" || exit 1
sync "$temp" 2>/dev/null
[ -z "$5" ] || mv "$f" "$1/$5" || exit 1
mv -f "$temp" "$f" && echo written
"""


class _File:
    """Where the file of a host is, and how to get at it."""

    def __init__(self, call: Call, marks: MarkWatch) -> None:
        self._call = call
        self._marks = marks
        self._place = marks.place

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While it is held nobody else writes it."""
        async with host_lock(self._call, hostfile.NAME):
            if self._marks.shared or self._place is None:
                yield
                return
            with await asyncio.to_thread(_locked, self._place):
                yield

    async def read(self) -> hostfile.Found:
        if self._place is None:
            return self._marks.memory
        printed = await self._run(_READ, str(self._place))
        return hostfile.found(printed)

    async def write(self, before: hostfile.Found, text: str, aside: str) -> None:
        """RefusedError: it is no longer what was read. HostError: it can't be written."""
        if self._place is None:
            self._marks.memory = hostfile.Found("file", text)
            return
        folder, name = str(self._place.parent), self._place.name
        if (await self._run(_WRITE, folder, name, before.digest, text, aside)).strip() != "written":
            raise RefusedError(f"{self._place} was changed just now by somebody else", cure="try again")

    async def _run(self, script: str, *words: str) -> str:
        argv = ["sh", "-c", script, "virtfleet", *words]
        if self._marks.has_shell:
            done = await asyncio.to_thread(self._call.reach.run, argv, _WITHIN)
            code, out, err = done.rc, done.out, done.err
        else:
            code, out, err = await asyncio.to_thread(_here, argv)
        if code != 0:
            why = err.decode("utf-8", "replace")[:_LONGEST_PRINTED].strip().splitlines()
            raise HostError(
                f"{self._place} can't be written: {why[-1] if why else f'exit code {code}'}",
                cure="our login there must be able to write it",
            )
        return out.decode("utf-8", "surrogateescape")


def _here(argv: Sequence[str]) -> tuple[int, bytes, bytes]:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_WITHIN, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeadlineError("writing what is said of the host took too long") from None
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def _held(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


def _locked(place: Path) -> contextlib.AbstractContextManager[None]:
    """Keeps other processes of ours from our notes about the host."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    until = time.monotonic() + _WAIT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(fd)
                raise RefusedError("somebody else is changing it just now", cure="try again") from None
            time.sleep(0.05)
        else:
            return _held(fd)


async def _mark(call: Call) -> dict[str, Any]:
    """Sets or takes away marks: `set` {key: mark or null}.

    `expect` {key: mark or null}: what may stand there now; what stands there
    else is somebody else's. RefusedError then, and nothing is changed; as an undo
    (`undo`) it is left alone instead. `aside`: a file that can't be understood is
    put aside; without, it is refused.
    """
    marks = call.session.marks
    if marks is None:
        raise HostError("not connected")
    try:
        change = _marks(call.args["set"])
        expected = _marks(call.args.get("expect", {}))
    except ValueError as error:
        raise RefusedError(str(error)) from None
    file = _File(call, marks)
    async with file.alone():
        seen = await file.read()
        aside = ""
        try:
            value = hostfile.content(seen)
        except ValueError as error:
            if not call.args.get("aside"):
                raise RefusedError(
                    f"{error}: what it said would be lost",
                    cure="`host enable` puts it aside, and begins anew",
                ) from None
            value, aside = {}, f"{hostfile.NAME}.bad-{int(time.time())}"
        was = {key: hostfile.mark_of(value.get(key), key) for key in change}
        others = {
            key: mark
            for key, mark in was.items()
            if key in expected and mark not in (expected[key], change[key])
        }
        if others and not aside:
            if not call.args.get("undo") or call.args.get("of_done"):
                raise RefusedError(f"meanwhile {_said(others)}", cure="look, and plan it again")
            change = {key: mark for key, mark in change.items() if key not in others}
        if aside or any(was[key] != mark for key, mark in change.items()):
            await _write(file, seen, value, change, aside)
            seen = await file.read()
    marks.tell(seen)
    result: dict[str, Any] = {"was": {key: hostfile.plain(mark) for key, mark in was.items()}}
    return result | ({"left": f"{_said(others)}"} if others else {}) | ({"aside": aside} if aside else {})


async def _write(
    file: _File, seen: hostfile.Found, value: Mapping[str, Any], change: Mapping[str, Mark | None], aside: str
) -> None:
    try:
        text = hostfile.written(value, change)
    except ValueError as error:
        raise RefusedError(str(error)) from None
    await file.write(seen, text, aside)


def _marks(given: Mapping[str, Any]) -> dict[str, Mark | None]:
    """ValueError: not marks that we know."""
    if unknown := set(given) - set(hostfile.KEYS):
        raise ValueError(f"no marks: {', '.join(sorted(unknown))}")
    return {key: hostfile.mark_of(value, key) for key, value in given.items()}


def _said(marks: Mapping[str, Mark | None]) -> str:
    words = (
        f"its mark {key} was taken away" if mark is None else f"it was marked {key} {mark.words}"
        for key, mark in marks.items()
    )
    return " and ".join(words)


ACTS: Mapping[str, Operation] = {"host.mark": _mark}
