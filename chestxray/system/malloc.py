"""Set how much freed memory glibc's heap keeps; with other C libraries nothing changes."""

import ctypes

# Options of mallopt, as malloc.h numbers them.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
ARENA_MAX = -8

IMAGE_BLOCK = 30_000_000
"""Bytes; an image of usual size is decoded in blocks no larger. See docs/decisions/prepare.md."""


def keep_image_blocks() -> None:
    """Keep the memory of each image for the next one, in a program that decodes many."""
    set_heap(kept_block=IMAGE_BLOCK, kept_end=2 * IMAGE_BLOCK)


def set_heap(*, kept_block: int, kept_end: int, one_arena: bool = False) -> None:
    """Set how glibc's heap gives memory back, for the whole process (mallopt(3)).

    What goes back to the system costs a page fault for every 4 KiB when it is needed again; what is kept stays
    resident.

    Args:
        kept_block: bytes from which on a block is taken from the system, and goes back when it is freed.
        kept_end: bytes that may be free at the end of the heap before they go back.
        one_arena: one heap for all threads that begin later, rather than up to eight for each core.
    """
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(MMAP_THRESHOLD, kept_block)
        libc.mallopt(TRIM_THRESHOLD, kept_end)
        if one_arena:
            libc.mallopt(ARENA_MAX, 1)


def give_back_free_memory() -> None:
    """Give back what is free within the heap, such as what opening a model took and left (malloc_trim(3))."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
