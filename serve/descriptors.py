"""Share out the file descriptors of the process, so that no kind of client can take all of them."""

import errno
import resource
from pathlib import Path
from typing import NamedTuple

ACCEPTED_AT_ONCE = 4
"""Connections taken from the system's queue in one turn of the event loop."""
TURNS = 4
"""Turns of the event loop from taking a connection to closing it again."""
HEADROOM = 16 + TURNS * ACCEPTED_AT_ONCE
"""Descriptors for all else: the codecs' process, a bundle, heatmaps, and connections that are just refused."""
FEWEST = 4
"""Connections, and files, with which the service still answers probes and predictions."""


class Descriptors(NamedTuple):
    """How many of each may be open at the same time.

    Attributes:
        connections: of clients.
        files: of uploads, which wait on disk.
    """

    connections: int
    files: int


def share_descriptors(most_connections: int) -> Descriptors:
    """Share out what the process may open besides what is open now.

    Raises:
        OSError: it may open too few (`ulimit -n`).
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = 1 << 20
    taken = sum(1 for _ in Path("/dev/fd").iterdir()) + HEADROOM
    if limit - taken < 2 * FEWEST:
        least = taken + 2 * FEWEST
        raise OSError(
            errno.EMFILE, f"the process may open {limit} files; `ulimit -n {least}` is the least that it needs"
        )
    connections = min(most_connections, (limit - taken) // 2)
    return Descriptors(connections, limit - taken - connections)
