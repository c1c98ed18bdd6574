"""End with the process that started this one, even if that is killed and can't say so."""

import os
import threading
import time
from multiprocessing import parent_process

SECONDS = 0.5
"""How often to look."""


def end_with_parent(parent: int | None = None) -> None:
    """End this process soon after its parent has; what is half done is left as a kill leaves it.

    Args:
        parent: its number, which multiprocessing tells too: it may have ended before this is called.
    """
    starter = parent_process()
    number = parent or (starter and starter.pid) or os.getppid()
    threading.Thread(target=_follow, args=(number,), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os._exit(1)
