"""Independent pieces of work side by side, each in a process of its own."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    work: Callable[[Piece], Result], pieces: Sequence[Piece], *, most: int | None = None
) -> Iterator[tuple[Piece, Result]]:
    """Every piece with its result, as they are finished; one after the other here where there is one piece or core.

    `work`, a function of a module, runs in a fresh process with one thread; `most` processes at a time (default: one
    a core). They end with this process, however it ends. The first error ends all of them and is raised here.
    """
    processes = min(len(pieces), cores() if most is None else most)
    if processes < 2:
        yield from ((piece, work(piece)) for piece in pieces)
        return
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
    )
    try:
        running = {pool.submit(work, piece): piece for piece in pieces}
        for done in as_completed(running):
            yield running[done], done.result()
    finally:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(parent: int) -> None:
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A process killed leaves its children running, and they would write into a folder that is no longer theirs."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
