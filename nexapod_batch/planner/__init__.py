"""Which node runs which replica, and why not. No I/O, no clock, no randomness.

- A node is taken only if its site does not refuse the job, if tier, resources, numeric class and free slots fit, if its
  owner lets it work now, and if it shares no domain listed in `distinct` with a replica of the same task that was
  placed already.
- Among those, nodes that were never blamed come first; then the widest spread (an unused owner, then site, host,
  node), also when `distinct` is `run`; then the least loaded for its CPUs and, where it was measured, their speed; then
  the largest and fastest.
- Where `distinct` lists several fields, a choice never makes the task's last domains unreachable.
- Needs that are alike are planned together and in stretches, so that thousands of tasks cost milliseconds.
"""

from nexapod_batch.planner.blocked import why_not
from nexapod_batch.planner.capacity import capacity
from nexapod_batch.planner.fitness import unfit
from nexapod_batch.planner.nouns import Need, NodeLoad, Plan, Reach
from nexapod_batch.planner.placing import plan

__all__ = ["Need", "NodeLoad", "Plan", "Reach", "capacity", "plan", "unfit", "why_not"]
