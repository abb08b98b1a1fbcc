"""Work on the machines of a Dask cluster, as :mod:`dxa_monai.parallel.worker_pool` does it on one.

Dask and not Ray: its workers are plain processes that a batch system starts (SLURM, Kubernetes, ssh), what a lost
worker had in hand is given to another one without a word of ours, and it adds 20 MB, not 500.

Only names, settings and short answers travel. The work itself reads and writes files below folders that all machines
see under the same path. Every file is written atomically and depends on its item alone, so that work which was begun
twice, because a worker was lost, leaves the same bytes.

What travels is pickled: who can reach the scheduler can run code on its workers, and a scheduler can run code here. Its
address therefore comes from the environment of the user (Dask's own ``DASK_SCHEDULER_ADDRESS``), never from a config.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.threads import one_thread

logger = logging.getLogger(__name__)

PACKAGE = "distributed==2026.8.0"
ADDRESS_VARIABLE = "DASK_SCHEDULER_ADDRESS"
CONNECT_SECONDS = 10.0
WORKERS_SECONDS = 60.0
_COMPARED = ("dxa_monai", "torch", "numpy", "scipy")


def run_on_cluster(
    task: Callable[..., Any], items: Sequence[Any], arguments: tuple[Any, ...]
) -> Generator[Any, None, None]:
    """Call ``task(item, *arguments)`` for every item on a cluster and yield each item when it is done.

    The cluster is the one whose scheduler ``DASK_SCHEDULER_ADDRESS`` names (``tcp://host:8786``).

    Args:
        task: a function of a module; see :func:`dxa_monai.parallel.worker_pool.run_in_processes`.
        items: what to work on.
        arguments: the same for all, small.

    Raises:
        InputError: Dask is not installed, there is no address, nobody answers at it, no worker comes, or
            one of several threads.
        InputError, TrainingError: raised by ``task``, passed on.
        RuntimeError: any other failure of ``task``, or an item that ended one worker after the other: it is named,
            or one that was sent to the same workers.
    """
    distributed = _distributed()
    scheduler = os.environ.get(ADDRESS_VARIABLE, "")
    if "://" not in scheduler:
        raise InputError(f"cluster: expected {ADDRESS_VARIABLE}=tcp://host:port in the environment, got '{scheduler}'.")
    with _client(distributed, scheduler) as client:
        _check_workers(client, scheduler)
        futures = [client.submit(_call, task, item, arguments, pure=False) for item in items]
        item_of = {future.key: item for future, item in zip(futures, items, strict=True)}
        try:
            for future in distributed.as_completed(futures, loop=client.loop):
                item = item_of[future.key]
                _raise_of(future, item, distributed)
                yield item
        finally:
            client.cancel(futures)


def _call(task: Callable[..., Any], item: Any, arguments: tuple[Any, ...]) -> None:
    """What a worker does: the number of threads of linear algebra can change the last bits of a result."""
    with one_thread():
        task(item, *arguments)


def _raise_of(future: Any, item: Any, distributed: Any) -> None:
    error = future.exception()
    if error is None:
        return
    if isinstance(error, (InputError, TrainingError)):
        raise error
    if isinstance(error, distributed.scheduler.KilledWorker):
        raise RuntimeError(
            f"item {item}, or one that waited with it: one worker after the other ended while it had them; "
            "they may have run out of memory"
        ) from error
    raise RuntimeError(f"item {item}: {type(error).__name__}: {error}") from error


def _distributed() -> Any:
    try:
        import distributed
        import distributed.scheduler
    except ImportError as error:
        raise InputError(f"distributed: expected Dask for a cluster (pip install {PACKAGE}), got '{error}'.") from error
    return distributed


@contextmanager
def _client(distributed: Any, scheduler: str) -> Generator[Any, None, None]:
    # its own reports of a lost connection come as pages of traceback
    logging.getLogger("distributed").setLevel(logging.ERROR)
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"cluster: expected a Dask scheduler at {scheduler}, got '{reason}'.") from error
    with client:
        yield client


def _check_workers(client: Any, scheduler: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        raise InputError(f"cluster: expected workers at {scheduler}, got none in {WORKERS_SECONDS:g} s.") from error
    threads = {worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}
    if threads != {1}:
        raise InputError(
            f"cluster: expected workers of one thread (dask worker --nthreads 1), got {max(threads)} threads."
        )
    here = about_process()
    for worker, there in client.run(about_process).items():
        other = [f"{name} {there[name]} for {value}" for name, value in here.items() if there[name] != value]
        if other:
            logger.warning("%s: %s; its files may differ in their last bits", worker, ", ".join(other))


def about_process() -> dict[str, str]:
    """Versions that decide about the bytes of results, of the process that calls this."""
    import dxa_monai

    versions = {name: version(name) for name in _COMPARED if name != "dxa_monai"}
    return {"dxa_monai": dxa_monai.__version__, "python": platform.python_version(), **versions}
