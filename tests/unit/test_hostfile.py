"""What operators say of a host: the file as text, on a shell, and through two engines at once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtfleet.config.settings import FleetSettings, HostSettings
from virtfleet.engine import Engine
from virtfleet.errors import RefusedError
from virtfleet.hypervisor import hostfile
from virtfleet.hypervisor.acts.hostfile import _READ, _WRITE
from virtfleet.hypervisor.hostfile import Found, content, found, maintenance, written
from virtfleet.hypervisor.watch_marks import read
from virtfleet.model import HostView, Maintenance, Mark
from virtfleet.model.action import DisableHost, EnableHost
from virtfleet.model.job import Job, JobState

TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=40)
MARKS = st.none() | st.builds(Mark, by=TEXTS, since=st.floats(0, 1e11), reason=TEXTS)


@settings(max_examples=60)
@given(MARKS, MARKS, st.dictionaries(TEXTS, st.integers(-9, 9), max_size=3))
def test_what_is_written_is_read_and_what_others_wrote_is_kept(
    disabled: Mark | None, draining: Mark | None, foreign: dict[str, int]
) -> None:
    foreign = {key: value for key, value in foreign.items() if key not in hostfile.KEYS}
    text = written(foreign, {"disabled": disabled})
    text = written(content(Found("file", text)), {"draining": draining})
    said = maintenance(Found("file", text))
    assert (said.disabled, said.draining, said.problem) == (disabled, draining, "")
    again = content(
        Found("file", written(content(Found("file", text)), {"disabled": None, "draining": None}))
    )
    assert again == foreign


@settings(max_examples=150)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,disabledraining 0\ud800', max_size=60).map(
    lambda text: text.encode("utf-8", "surrogatepass")
))  # fmt: skip
def test_whatever_lies_there_is_understood_or_told(data: bytes) -> None:
    seen = Found("file", data.decode("utf-8", "surrogateescape"))
    said = maintenance(seen)
    assert said.problem.isprintable()
    assert (said.closed == "") == (said.word == "")
    if said.problem:
        with pytest.raises(ValueError, match=r"host\.json"):
            content(seen)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "host.json is no JSON: Input data was truncated"),
        ("[]", "host.json is no JSON object"),
        ("[" * 9000, "host.json is no JSON"),
        ('{"disabled": true}', "host.json: disabled must be null or have by, since and reason"),
        ('{"disabled": {"by": "a"}}', "host.json: since of disabled is no Unix time"),
        ('{"draining": {"by": "a", "since": 1e300}}', "host.json: since of draining is no Unix time"),
        ('{"draining": {"by": "a", "since": true}}', "host.json: since of draining is no Unix time"),
        ('{"disabled": {"by": 7, "since": 1}}', "host.json: disabled must be null or have by"),
        (" " * 20000, "host.json is larger than 16 KiB"),
    ],
)
def test_what_is_wrong_with_it_is_said(text: str, problem: str) -> None:
    said = maintenance(Found("file", text))
    assert said.problem.startswith(problem)
    assert said.word == "unreadable"
    assert said.closed == f"may be disabled: {said.problem}"


def test_hostile_words_are_cleaned_and_cut() -> None:
    mark = {"by": "a\x1b[2J", "since": 1, "reason": "x\u202e" + "y" * 2000}
    said = maintenance(Found("file", json.dumps({"disabled": mark})))
    assert said.disabled is not None
    assert said.disabled.by == "a\ufffd[2J"
    assert len(said.disabled.reason) <= 500
    assert "\u202e" not in said.disabled.reason


def test_a_file_that_would_be_too_large_is_not_written() -> None:
    with pytest.raises(ValueError, match="would be larger than 16 KiB"):
        written({"note": "n" * 17000}, {"disabled": Mark("me", 1.0)})


# ---- on a shell, as hosts have it


def shell(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", script, "virtfleet", *words], capture_output=True, text=True, check=False
    )


def looked(path: Path) -> Found:
    """What the shell says, which must be what our own reading says."""
    seen = found(shell(_READ, str(path)).stdout)
    assert seen == read(path)
    return seen


def put(folder: Path, before: Found, text: str, aside: str = "") -> str:
    return shell(_WRITE, str(folder), "host.json", before.digest, text, aside).stdout.strip()


def test_it_is_written_whole_and_only_over_what_was_read(tmp_path: Path) -> None:
    folder = tmp_path / "new folder"
    file = folder / "host.json"
    absent = looked(file)
    assert absent.kind == "absent"
    assert put(folder, absent, "one") == "written"
    assert put(folder, absent, "two") == "changed"
    one = looked(file)
    assert one == Found("file", "one")
    assert put(folder, one, "three 'and' $HOME %s\\n") == "written"
    assert file.read_text() == "three 'and' $HOME %s\\n"
    assert file.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in folder.iterdir()] == ["host.json"]


def test_what_is_no_file_is_told_and_put_aside(tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "host.json", tmp_path / "elsewhere"
    elsewhere.write_text("{}")
    file.symlink_to(elsewhere)
    link = looked(file)
    assert link.kind == "odd"
    assert put(tmp_path, link, "{}", "host.json.bad-1") == "written"
    assert (tmp_path / "host.json.bad-1").is_symlink()
    assert looked(file) == Found("file", "{}")
    file.unlink()
    file.mkdir()
    assert looked(file).kind == "odd"
    file.rmdir()
    subprocess.run(["mkfifo", file], check=True)
    assert looked(file).kind == "odd"
    assert maintenance(looked(file)).problem == "host.json is no ordinary file"


def test_a_large_file_is_cut_and_put_aside_whole(tmp_path: Path) -> None:
    file = tmp_path / "host.json"
    file.write_text("x" * 100_000)
    seen = looked(file)
    assert len(seen.text) == hostfile.LIMIT + 1
    assert put(tmp_path, seen, "{}", "host.json.bad-1") == "written"
    assert (tmp_path / "host.json.bad-1").stat().st_size == 100_000


# ---- through engines: a host without a place for it


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        folder = tmp_path / variable
        folder.mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(folder))


@asynccontextmanager
async def operator() -> AsyncIterator[Engine]:
    host = HostSettings(name="t1", uri="test:///default", interval=0.5)
    engine = Engine(FleetSettings(hosts={"t1": host}), keep_history=False)
    await engine.start()
    try:
        await engine.settled(timeout=20)
        yield engine
    finally:
        await engine.stop()


def t1(engine: Engine) -> HostView:
    return engine.snapshot.hosts["t1"]


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def do(engine: Engine, action: DisableHost | EnableHost) -> Job:
    return await engine.jobs.wait((await engine.apply(await engine.plan(action))).id)


async def test_what_is_said_of_a_host_without_ssh_is_kept_here_and_that_is_told() -> None:
    async with operator() as engine:
        assert t1(engine).maintenance == Maintenance(shared=False)
        plan = await engine.plan(DisableHost(host="t1", reason="new kernel"))
        assert "other operators can't see it" in plan.reasons[-1].text
        assert plan.reasons[-1].warning
        job = await do(engine, DisableHost(host="t1", reason="new kernel"))
        assert job.state is JobState.DONE
        await until(lambda: t1(engine).closed != "")
        said = t1(engine).maintenance
        assert said is not None
        assert said.disabled is not None
        assert said.disabled.reason == "new kernel"
        assert said.disabled.by == job.who
        assert t1(engine).closed == f"disabled for new VMs by {job.who}: new kernel"
        again = await engine.plan(DisableHost(host="t1"))
        assert again.steps == ()
        assert again.reasons[0].text == f"t1 is disabled for new VMs by {job.who}: new kernel"
    async with operator() as later:
        assert t1(later).closed.endswith("new kernel")
        assert (await do(later, EnableHost(host="t1"))).state is JobState.DONE
        await until(lambda: t1(later).closed == "")


async def test_the_mark_of_another_is_not_overwritten_and_undoing_takes_back_ones_own() -> None:
    async with operator() as one, operator() as two:
        planned = [
            await each.plan(DisableHost(host="t1", reason=f"{n}")) for n, each in enumerate((one, two))
        ]
        first = await one.jobs.wait((await one.apply(planned[0])).id)
        second = await two.jobs.wait((await two.apply(planned[1])).id)
        assert first.state is JobState.DONE
        assert second.state is JobState.FAILED
        assert f"meanwhile it was marked disabled by {first.who}: 0" in second.error
        with pytest.raises(RefusedError, match="meanwhile it was marked disabled"):
            await two.request(
                "t1", "host.mark", {"set": {"disabled": None}, "expect": {"disabled": None}}, timeout=20
            )
        undone = await one.jobs.wait((await one.jobs.undo(first.id)).id)
        assert undone.state is JobState.DONE
        await until(lambda: t1(one).closed == "")


async def test_bad_reasons_are_refused() -> None:
    async with operator() as engine:
        with pytest.raises(RefusedError, match="301 characters, at most 300"):
            await engine.plan(DisableHost(host="t1", reason="x" * 301))
        with pytest.raises(RefusedError, match="has control characters in it"):
            await engine.plan(DisableHost(host="t1", reason="a\x1b[2J"))
