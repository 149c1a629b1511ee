"""What can go wrong, as one tree; the command line turns each branch into its exit code.

    VostoolError              1  our fault
    ├── UsageError            2  options that make no sense together
    ├── InputError            3  a video or folder that cannot be read
    ├── MaskError             4  a mask that cannot be used
    ├── DeviceError           5  a device that is not there, or too little memory
    ├── WeightsError          6  a weights file that is not one
    ├── OutputError           7  a result that exists already, or cannot be written
    ├── ContractError         8  a model of another package that is not what it should be
    └── WarningsError         9  a result with warnings, where --fail-on-warning asks for none

A message is one line that says what, where, expected and found.
"""

from typing import Self


class VostoolError(Exception):
    """The root: everything that vostool raises on purpose."""

    exit_code = 1


class UsageError(VostoolError):
    """Options or settings that make no sense, alone or together."""

    exit_code = 2


class InputError(VostoolError):
    """A video, folder or data set that is missing, empty or cannot be decoded."""

    exit_code = 3


class MaskError(VostoolError):
    """A mask that is unreadable, empty, ambiguous or of the wrong size."""

    exit_code = 4


class DeviceError(VostoolError):
    """A device that is absent, or out of memory."""

    exit_code = 5


class WeightsError(VostoolError):
    """Weights that are missing, damaged, or not for this network."""

    exit_code = 6


class OutputError(VostoolError):
    """A result that exists already, or a place that cannot be written."""

    exit_code = 7


class ContractError(VostoolError):
    """A model of another package that breaks the contract of `vostool.model.interface`."""

    exit_code = 8


class WarningsError(VostoolError):
    """A result that is complete, but comes with warnings although none are accepted."""

    exit_code = 9


class Caution(str):
    """A warning: its message, with a code that stays the same when the words change."""

    code: str

    def __new__(cls, code: str, message: str) -> Self:
        """Give a message a code, unless it has one already, which then says more."""
        caution = super().__new__(cls, message)
        caution.code = message.code if isinstance(message, Caution) else code
        return caution

    @property
    def report(self) -> dict[str, str]:
        """What a report says of it."""
        return {"code": self.code, "message": str(self)}
