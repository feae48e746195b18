"""Calls of the kernel that no command in a sandbox needs, and that others broke out by: as a filter, and as a profile.

One list, two forms. Bubblewrap takes a compiled filter (classic BPF over `struct seccomp_data`), with numbers of calls
of one architecture; Apptainer takes a profile in JSON, with names, and answers every refused call with EPERM.

Refused are user namespaces, io_uring, kernel keyrings, BPF, performance events, handles of files, mounting, modules,
and sockets of other families than UNIX, IPv4, IPv6 and netlink: so no vsock, no AF_ALG, no packets. Raw sockets need a
capability that nobody has in there.
"""

from __future__ import annotations

import errno
import struct

__all__ = ["compiled", "profile"]

#: name -> (number on x86_64, on aarch64); None: there is no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442),
}  # fmt: skip
_SOCKET, _CLONE, _UNSHARE, _CLONE3 = (41, 198), (56, 220), (272, 97), 435
_FAMILIES = (1, 2, 10, 16)  # UNIX, IPv4, IPv6, netlink
_MOST_FAMILIES = 46
_NEW_USER = 0x10000000  # CLONE_NEWUSER
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_X32 = 0x40000000  # calls of another world with the same architecture
_NUMBER, _ARCH, _FIRST = 0, 4, 16  # offsets in struct seccomp_data: nr, arch, low half of args[0]


def compiled(machine: str) -> bytes | None:
    """Return the filter for a machine as `uname -m` says it; None for one of which the numbers are not known here.

    32-bit programs on x86_64 and aarch64 find every call missing (ENOSYS). So is clone3, whose flags no filter sees:
    C libraries fall back to clone.
    """
    if machine not in _MACHINES:
        return None
    column, arch = _MACHINES[machine]
    refused = sorted(number for numbers in _REFUSED.values() if (number := numbers[column]) is not None)
    missing, denied, no_family = (_ERRNO | code for code in (errno.ENOSYS, errno.EPERM, errno.EAFNOSUPPORT))
    code = [
        (_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, missing),
        (_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, missing),
        (_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, missing),
    ]  # fmt: skip
    for number in refused:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, denied)]
    for number in (_CLONE[column], _UNSHARE[column]):
        code += [
            (_EQUAL, 0, 4, number), (_LOAD, 0, 0, _FIRST), (_ANY_BIT, 0, 1, _NEW_USER), (_RETURN, 0, 0, denied),
            (_RETURN, 0, 0, _ALLOW),
        ]  # fmt: skip
    families = [(_EQUAL, len(_FAMILIES) - at, 0, family) for at, family in enumerate(_FAMILIES)]
    code += [(_EQUAL, 0, 2 + len(families), _SOCKET[column]), (_LOAD, 0, 0, _FIRST), *families]
    code += [(_RETURN, 0, 0, no_family), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *one) for one in code)


def profile() -> dict[str, object]:
    """Return the same for a container program, as JSON.

    Refused there means EPERM, at which no C library falls back from clone3: it is "traced", and so missing as long as
    nobody traces, which is refused as well.
    """
    new_user = [{"index": 0, "value": _NEW_USER, "valueTwo": _NEW_USER, "op": "SCMP_CMP_MASKED_EQ"}]
    others = [family for family in range(_MOST_FAMILIES) if family not in _FAMILIES]
    rules: list[dict[str, object]] = [
        {"names": [*_REFUSED, "ptrace"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["clone", "unshare"], "action": "SCMP_ACT_ERRNO", "args": new_user},
        {"names": ["clone3"], "action": "SCMP_ACT_TRACE"},
    ]
    for family in others:
        args = [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}]
        rules.append({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": args})
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [], "syscalls": rules}
