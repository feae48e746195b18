"""What a process of ours does before anything else, so that nothing of whoever started it reaches commands.

| left behind | how |
|---|---|
| descriptors that were open | closed when a command is started; those of numbers 0 to 2 are there from now on |
| keys of the session (Kerberos, AFS) | a new and empty session keyring; commands get it emptied |
| the environment | what is on no list goes; what it was stays in `given`, for the names that a site passes on |
| the current folder | `/` |
| what it has in memory | no core files; no process of the same account may look into it (PR_SET_DUMPABLE) |

The last means debuggers as well as `/proc/PID/environ`, `fd` and `mem`. Commands are programs of their own, and may be
looked at as ever. Where the kernel does not allow one of these (a container without the call) the rest holds.
"""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress

from nexapod_batch import interpreter

__all__ = ["TOLD", "begin", "forget_keys", "given"]

#: The environment that this process was started with.
given: dict[str, str] = {}
#: How the names of variables begin by which schedulers and launchers tell what they start who and where it is.
TOLD = (
    "SLURM_", "SLURMD_", "SRUN_", "PMI_", "PMI2_", "PMIX_", "OMPI_", "PRTE_", "MPI_LOCAL", "MPIR_", "MPICH_", "HYDRA_",
    "HYDI_", "I_MPI_", "PALS_", "ALPS_", "FLUX_", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK",
)  # fmt: skip
_PR_SET_DUMPABLE = 4
_JOIN_SESSION_KEYRING, _CLEAR, _SESSION_KEYRING = 1, 7, -3
#: Number of the system call keyctl, which no library that is always there has a function for.
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}.get(os.uname().machine)
_LIBC = ctypes.CDLL(None)
_MOST = 4096  # descriptors that are looked at where nobody says which are open


def begin() -> None:
    """Leave behind what is not ours; to be called once, before anything of ours is opened."""
    os.chdir(interpreter.FOLDER)
    for number in range(3):  # whoever started us may have closed them: no file of ours may get these numbers
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    _close_on_exec()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _keyctl(_JOIN_SESSION_KEYRING, 0)
    given.update(os.environ)
    kept = interpreter.environment(given)
    kept.pop("LD_LIBRARY_PATH", None)  # our interpreter has found what it needs
    for name in given.keys() - kept.keys():
        if not name.startswith(TOLD):
            del os.environ[name]


def forget_keys() -> None:
    """Empty the session keyring, so that one command finds nothing of the one before."""
    if _keyctl(_CLEAR, _SESSION_KEYRING) != 0:  # a command took our right to it away
        _keyctl(_JOIN_SESSION_KEYRING, 0)


def _keyctl(operation: int, argument: int) -> int:
    return -1 if _KEYCTL is None else _LIBC.syscall(_KEYCTL, operation, ctypes.c_long(argument), 0, 0, 0)


def _close_on_exec() -> None:
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        numbers = list(range(_MOST))
    for number in numbers:
        if number > 2:
            with suppress(OSError):  # the one of the listing itself
                os.set_inheritable(number, False)  # noqa: FBT003 - the standard library's
