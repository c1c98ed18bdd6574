"""Tell whether the process that writes a run still lives."""

import os
import platform

import psutil

LATEST = 1.0
"""Seconds by which clocks of the store and of the system may differ."""


def this_process() -> str:
    """Name this process: its machine and its number there."""
    return f"{platform.node()} {os.getpid()}"


def is_gone(process: str, since: float) -> bool:
    """Tell whether a process has ended; of one on another machine that can't be told from here, and it has not.

    Args:
        process: as `this_process` named it.
        since: a time at which it lived, in seconds since 1970: the system gives numbers out again.
    """
    machine, _, number = process.rpartition(" ")
    if machine != platform.node():
        return False
    try:
        found = psutil.Process(int(number))
        return bool(found.create_time() > since + LATEST or found.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
