"""What a runner notices of the use of its machine."""

from __future__ import annotations

import subprocess
import sys
import time

from nexapod_batch.runner.usage import CROWD_S, MAX_PROCESSES, Crowd

THREADS = f"""
import threading, time
for _ in range({MAX_PROCESSES // 4 + 100}): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("there", flush=True)
time.sleep(60)
"""


def test_a_crowd_is_noticed_and_again_when_it_comes_again() -> None:
    """Five hundred threads more than there were at the least since it was noticed last."""
    crowd = Crowd()
    assert not crowd.grew()
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE) as many:
            assert many.stdout is not None
            many.stdout.readline()
            time.sleep(CROWD_S)
            assert crowd.grew()
            many.kill()
        time.sleep(CROWD_S)
        crowd.grew()  # hears that they are gone
