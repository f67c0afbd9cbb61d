"""One operator of two: changes one VM fifty times as fast as it can, as a process of its own.

python -m lab.racing FLEET UUID WHO COUNT      prints a line of JSON: what was refused, and why
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

from virtfleet.config.load import load
from virtfleet.engine import Engine
from virtfleet.errors import RefusedError
from virtfleet.model.action import Action, AssignVm, DescribeVm, EditVm, TagVm, VmRef
from virtfleet.model.job import JobState

GROUPS = ("stats", "facts", "pools", "volumes", "networks")
_TRIES = 400


class Operator:
    def __init__(self, engine: Engine, vm: VmRef, who: str) -> None:
        self.engine = engine
        self.vm = vm
        self.who = who
        self.stale: list[str] = []
        self.busy = 0

    async def action(self, number: int) -> Action:
        """Tag, project, description and an edit of the XML, in turn. Of what both write, each has a place."""
        match number % 4:
            case 0:
                return TagVm(vm=self.vm, add=(f"{self.who}-{number}",))
            case 1:
                if self.who == "a":
                    return AssignVm(vm=self.vm, project=f"{self.who}-{number}")
                return AssignVm(vm=self.vm, group=f"{self.who}-{number}")
            case 2:
                if self.who == "a":
                    return DescribeVm(vm=self.vm, title=f"{self.who}-{number}")
                return DescribeVm(vm=self.vm, description=f"{self.who}-{number}")
            case _:
                return await self.edit(number)

    async def edit(self, number: int) -> EditVm:
        """An element of its own: <entry name='a'> in the SMBIOS strings is of no concern to the other."""
        given = await self.engine.request(self.vm.host, "vm.edited", {"uuid": self.vm.uuid}, 20.0)
        place = "serial" if self.who == "a" else "asset"
        xml = re.sub(
            rf"<entry name=.{place}.>[^<]*</entry>",
            f"<entry name='{place}'>{self.who}-{number}</entry>",
            given["xml"],
        )
        assert xml != given["xml"]
        await asyncio.sleep(0.05)  # an editor is open for a while
        return EditVm(vm=self.vm, xml=xml, was=given["was"])

    async def change(self, number: int) -> None:
        for attempt in range(_TRIES):
            try:
                plan = await self.engine.plan(await self.action(number))
                job = await self.engine.jobs.submit(plan)
                ended = await self.engine.jobs.wait(job.id)
            except RefusedError as error:
                raise SystemExit(f"{self.who}-{number}: {error.message}") from None
            if ended.state is JobState.DONE:
                return
            if "is working on it" in ended.error:
                self.busy += 1
            elif "was changed by somebody else" in ended.error:
                self.stale.append(ended.error)
            else:
                raise SystemExit(f"{self.who}-{number}: {ended.state}: {ended.error}")
            await asyncio.sleep(0.01 * (attempt % 5))
        raise SystemExit(f"{self.who}-{number}: never had its turn")


async def main(fleet: str, uuid: str, who: str, count: int) -> None:
    engine = Engine(load(fleet), keep_history=False)
    await engine.start()
    try:
        await engine.settled(GROUPS, timeout=30.0)
        (vm,) = [VmRef("hv1", vm.uuid, vm.name) for vm in engine.snapshot.hosts["hv1"].vms if vm.uuid == uuid]
        operator = Operator(engine, vm, who)
        for number in range(count):
            await operator.change(number)
        print(json.dumps({"stale": operator.stale, "busy": operator.busy}))
    finally:
        await engine.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
