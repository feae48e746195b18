"""What of /proc the owner of its files could change or read without any capability, and so root in any sandbox."""

__all__ = ["FROZEN", "HIDDEN"]

#: Mounted read-only.
FROZEN = (
    "/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/driver", "/proc/acpi", "/proc/scsi",
    "/proc/sysrq-trigger", "/proc/mtrr", "/proc/pressure", "/proc/timer_stats",
)  # fmt: skip
#: Covered.
HIDDEN = (
    "/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/slabinfo", "/proc/timer_list", "/proc/vmallocinfo",
    "/proc/iomem", "/proc/ioports", "/proc/pagetypeinfo", "/proc/vmcore",
)  # fmt: skip
