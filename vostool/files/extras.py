"""Packages that few users need, imported when they are."""

from importlib import import_module
from types import ModuleType

from vostool.errors import UsageError


def import_extra(module: str, package: str, what: str) -> ModuleType:
    """Return a module of a package that is not installed with vostool.

    Raises UsageError, with the command that installs it, if it is missing; `what` needs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(f"{what}: needs {package}, install it: pip install {package}") from error
