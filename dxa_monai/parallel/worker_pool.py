"""Worker processes: one thread each, deaf to Ctrl-C (the parent tells them), gone when their parent is.

Asked to stop (Ctrl-C, SIGTERM, a lost terminal), the parent says so in one line and sends SIGTERM to the workers: no
other item is begun, a training saves its state, anything else ends where it is. A second Ctrl-C ends them at once.

Work is always done in such a process, also with one worker: the number of threads of the linear algebra library can
change the last bits of a result, and it can only be set before that library is loaded.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, TypeVar

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.runs.interruption import ending_as_exit
from dxa_monai.terminal import lasting_output

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

START_METHOD = "spawn"
"""Of worker processes, as ``multiprocessing`` names it: they are no copy of this one, and import what they need."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def run_in_processes(
    task: Callable[..., Any], items: Sequence[_Item], arguments: tuple[Any, ...], workers: int
) -> Generator[_Item, None, None]:
    """Call ``task(item, *arguments)`` for every item in worker processes and yield each item when it is done.

    Args:
        task: a function of a module; it and its arguments are sent to the processes.
        items: what to work on, begun in this order.
        arguments: the same for all, small: they are sent with each item.
        workers: number of processes.

    Raises:
        InputError, TrainingError: raised by ``task``, passed on.
        RuntimeError: any other failure of ``task`` (the message names the item) or a process that died.
    """
    for item, _ in results_of_processes(task, items, arguments, workers):
        yield item


def run_here_or_in_processes(
    task: Callable[..., Any], items: Sequence[_Item], arguments: tuple[Any, ...], workers: int
) -> Iterator[_Item]:
    """As :func:`run_in_processes`, no more of them than items; with 0 ``workers`` in this process, one by one."""
    if workers > 0 and items:
        yield from run_in_processes(task, items, arguments, min(workers, len(items)))
        return
    for item in items:
        task(item, *arguments)
        yield item


def results_of_processes(
    task: Callable[..., _Result], items: Sequence[_Item], arguments: tuple[Any, ...], workers: int
) -> Generator[tuple[_Item, _Result], None, None]:
    """As :func:`run_in_processes`, each item with what ``task`` returned for it (small: it is sent to this process)."""
    context = multiprocessing.get_context(START_METHOD)
    stopping = context.Event()
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(stopping,))
    try:
        with ending_as_exit():
            with inherited_by_workers():
                futures = {executor.submit(_unless_stopping, task, item, *arguments): item for item in items}
            for future in as_completed(futures):
                try:
                    result = future.result()
                except (InputError, TrainingError):
                    raise
                except BrokenProcessPool as error:
                    raise RuntimeError(
                        "a worker process ended by itself; it may have run out of memory: try fewer workers"
                    ) from error
                except Exception as error:
                    raise RuntimeError(f"item {futures[future]}: {type(error).__name__}: {error}") from error
                yield futures[future], result
    except (KeyboardInterrupt, SystemExit):
        _stop(executor, stopping)
        raise
    finally:
        # After a failure the items in hand are finished, the others dropped.
        executor.shutdown(wait=True, cancel_futures=True)


def _stop(executor: ProcessPoolExecutor, stopping: Any) -> None:
    """Tell the workers, and wait until they are gone."""
    children = multiprocessing.active_children()
    print(
        f"\nstopping: {len(children)} processes are told, a training saves its state; Ctrl-C again ends them at once",
        file=sys.stderr,
        flush=True,
    )
    stopping.set()
    for process in children:
        process.terminate()
    try:
        executor.shutdown(wait=True, cancel_futures=True)
    except BaseException:
        for process in children:
            process.kill()
        raise


@contextmanager
def inherited_by_workers() -> Iterator[None]:
    """While it lasts, processes start with one thread and without a reaction to Ctrl-C."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    main = threading.current_thread() is threading.main_thread()
    reaction = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, reaction)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_stopping: Any = None
"""Of a worker: set when no other item shall be begun."""


def _start_worker(stopping: Any) -> None:
    global _stopping
    _stopping = stopping
    lasting_output()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _leave(number: int, frame: Any) -> None:
    """What a worker has begun is tidied up; a training puts its own reaction in place of this one."""
    raise SystemExit(128 + number)


def _unless_stopping(task: Callable[..., _Result], item: Any, *arguments: Any) -> _Result:
    if _stopping.is_set():
        raise SystemExit("asked to stop")
    return task(item, *arguments)


def _end_with_parent() -> None:
    """A killed parent leaves nobody to take the results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
