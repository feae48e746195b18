"""Preloaded into a Dask worker of the tests: what it answers goes through `lie(head, answer)`, where the file is there.

`head` is what was asked, `answer` what the honest agent says; `lie` may return anything that Dask can carry.
"""

from __future__ import annotations

import inspect
import json
import os
import pickle
from pathlib import Path
from typing import Any

from distributed.protocol import to_serialize


def dask_setup(worker: Any) -> None:
    """Twist the handler of `run`, by which agents are asked."""
    honest = worker.handlers["run"]
    file = Path(os.environ["DASK_CLUSTER_OF_TESTS"], "lie.py")

    def twisted(args: bytes, answer: object) -> object:
        if not file.exists():
            return answer
        names: dict[str, Any] = {}
        exec(compile(file.read_text(), file, "exec"), names)  # noqa: S102 - of the test
        head = pickle.loads(args)[1]["request"].partition(b"\n")[0]  # noqa: S301 - of the program under test
        return names["lie"](json.loads(head), answer)

    async def run(comm: Any, function: bytes, args: bytes = b"", **more: Any) -> Any:
        said = honest(comm, function, args=args, **more)
        said = await said if inspect.isawaitable(said) else said
        if said.get("status") != "OK":
            return said
        return {"status": "OK", "result": to_serialize(twisted(args, said["result"].data))}

    worker.handlers["run"] = run
