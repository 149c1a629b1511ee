"""Load the model of a command, here or in worker processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vostool import defaults
from vostool.cli.printing import print_message
from vostool.threads import limit_threads, thread_count

if TYPE_CHECKING:
    from vostool.inference.options import ModelOptions
    from vostool.inference.predictor import Predictor
    from vostool.scale.local import LocalPool
    from vostool.scale.work import J, Load, R


def load_model(options: "ModelOptions", quiet: bool) -> "Predictor":
    """Return the model of the options, as `load_predictor` does."""
    from vostool.allocator import bound_arenas
    from vostool.inference.loading import load_predictor

    bound_arenas()  # before a thread reads or writes
    model = load_predictor(options)
    if model.licence is not None:
        print_message(f"{model.weights}: {model.published}, {model.licence}", quiet)
    return model


def is_dealt(options: "ModelOptions") -> bool:
    """Return whether GPUs are dealt out to workers; else all have the device that is named."""
    return options.device in (defaults.AUTO, "cuda")


@contextmanager
def local_pool(
    load: "Load[J, R]", options: "ModelOptions", workers: int
) -> "Iterator[LocalPool[J, R]]":
    """Give a pool of processes on this machine: GPUs are dealt out, threads divided.

    This process has as many threads as each of them meanwhile: it has little to do.
    """
    from vostool.device import gpu_count
    from vostool.scale.local import LocalPool
    from vostool.scale.work import divide

    threads = thread_count()
    shares = divide(workers, gpu_count() if is_dealt(options) else 0)
    limit_threads(shares[0].threads)
    try:
        with LocalPool(load, shares) as pool:
            yield pool
    finally:
        limit_threads(threads)  # else the next pool would divide the share of a worker
