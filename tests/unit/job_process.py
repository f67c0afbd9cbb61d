"""A process that runs jobs on things that are files: what several of them do at once is seen in their folder.

python -m unit.job_process FOLDER submit N | resume ID | hold | cancel ID
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unit.job_worlds import make, plan
from virtfleet.errors import RefusedError
from virtfleet.jobs.book import JobBook


class Files:
    """Makes files; each deed is a line of the file `deeds`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def run(
        self,
        host: str,
        op: str,
        args: dict[str, Any],
        timeout: float,
        on_progress: Callable[[int, int, str], None],
    ) -> Any:
        if op == "vm.xml":
            return ""
        file = self._folder / str(args["name"])
        fd = os.open(self._folder / "deeds", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, f"{op} {file.name}\n".encode())
        os.close(fd)
        if op == "unmake":
            file.unlink(missing_ok=True)
        else:
            file.touch()
            if file.name == "held":
                await asyncio.Event().wait()
            await asyncio.sleep(0.02)
        return {}

    async def answers(self, host: str, within: float) -> bool:
        return True


async def main(folder: Path, what: str, which: str) -> None:
    book = JobBook(folder, Files(folder))
    try:
        if what == "submit":
            plans = [plan(make(f"{os.getpid()}-{n}")) for n in range(int(which))]
            jobs = [await book.submit(each) for each in plans]
            states = {(await book.wait(job.id)).state.value for job in jobs}
            print(*states, *(job.id for job in jobs))
        elif what == "hold":
            job = await book.submit(plan(make("first"), make("held")))
            print(job.id, flush=True)
            print((await book.wait(job.id)).state.value)
        elif what == "resume":
            try:
                await book.resume(which)
            except RefusedError:
                print("refused")
            else:
                print((await book.wait(which)).state.value)
        elif what == "cancel":
            await book.find(which)
            book.cancel(which)
    finally:
        await book.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))
