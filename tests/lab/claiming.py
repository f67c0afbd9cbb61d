"""An operator who claims room for many VMs at once, as a process of its own: prints how each ended, as JSON.

python -m lab.claiming FLEET HOST COUNT VCPUS MEMORY LIMITS-JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from typing import Any

from virtfleet.config.load import load
from virtfleet.engine import Engine
from virtfleet.errors import VirtfleetError


async def main(fleet: str, host: str, count: int, vcpus: int, memory: int, limits: dict[str, Any]) -> None:
    engine = Engine(load(fleet), keep_history=False)
    await engine.start()

    async def one() -> dict[str, Any]:
        name = uuid.uuid4()
        spec = {"name": f"claim-{name}", "uuid": str(name), "vcpus": vcpus, "memory": memory, "group": "web"}
        args = {"spec": spec, "uuid": str(name), "job": name.hex, "who": "somebody", "limits": limits}
        began = time.monotonic()
        try:
            await engine.request(host, "vm.define", args, 30.0)
            end = {"code": "", "says": ""}
        except VirtfleetError as error:
            end = {"code": error.code, "says": error.message}
        return {**end, "uuid": str(name), "seconds": time.monotonic() - began}

    try:
        await engine.settled(timeout=30.0)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await asyncio.gather(*(one() for _ in range(count)))), flush=True)
    finally:
        await engine.stop()


if __name__ == "__main__":
    _, file, name, number, cpus, size, most = sys.argv
    asyncio.run(main(file, name, int(number), int(cpus), int(size), json.loads(most)))
