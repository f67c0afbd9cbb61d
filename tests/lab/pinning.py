"""One operator of two who want the last CPU: plans a VM, waits for a line, carries it out, says how it ended.

python -m lab.pinning FLEET HOST IMAGE NAME FLAVOR      as JSON: state, error, and the CPUs of the plan
"""

from __future__ import annotations

import asyncio
import json
import sys

from virtfleet.actions.tying import tied_by
from virtfleet.config.load import load
from virtfleet.engine import Engine
from virtfleet.model.action import CreateVm

GROUPS = ("stats", "facts", "pools", "volumes", "networks")


async def main(fleet: str, host: str, image: str, name: str, flavor: str) -> None:
    engine = Engine(load(fleet), keep_history=False)
    await engine.start()
    try:
        await engine.settled(GROUPS, timeout=30.0)
        action = CreateVm(name=name, host=host, image=image, pool="local", flavor=flavor, start=False)
        plan = await engine.plan(action)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        # Not `apply`: it may have seen the other's VM by now. That the host itself refuses is what is tried.
        job = await engine.jobs.wait((await engine.jobs.submit(plan)).id)
        end = {"state": job.state.value, "error": job.error, "cpus": tied_by(plan).cpus}
        print(json.dumps(end), flush=True)
    finally:
        await engine.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
