"""The exceptions of vostool, one tree, and the exit codes of the command line.

    VostoolError              1  internal error
    ├── UsageError            2  usage
    ├── InputError            3  bad input
    ├── MaskError             4  bad mask
    ├── DeviceError           5  device or memory
    ├── WeightsError          6  weights
    ├── OutputError           7  output exists, is in use or cannot be written
    ├── ContractError         8  plug-in model not found or violates the contract
    ├── WarningsError         9  warnings, with --fail-on-warning
    └── TrainingError        10  training diverged

A message is one line that says what is wrong, where, what was expected, what was found, and
what to do.
"""

from typing import ClassVar, Self


class VostoolError(Exception):
    """The root: every exception that vostool raises deliberately."""

    exit_code: ClassVar[int] = 1
    meaning: ClassVar[str] = "internal error"


class UsageError(VostoolError):
    """Options or settings that are invalid, alone or together."""

    exit_code = 2
    meaning = "usage"


class InputError(VostoolError):
    """A video, folder, table or data set that is missing, empty or cannot be decoded."""

    exit_code = 3
    meaning = "bad input"


class MaskError(VostoolError):
    """A mask that is unreadable, empty, ambiguous or of the wrong size."""

    exit_code = 4
    meaning = "bad mask"


class DeviceError(VostoolError):
    """A device that is absent, or out of memory."""

    exit_code = 5
    meaning = "device or memory"


class WeightsError(VostoolError):
    """Weights that are missing, damaged, or not for this network."""

    exit_code = 6
    meaning = "weights"


class OutputError(VostoolError):
    """An output that exists already, or cannot be written."""

    exit_code = 7
    meaning = "output exists, is in use or cannot be written"
    in_use = False  # by another process, which is at work there

    @classmethod
    def of_use(cls, message: str) -> Self:
        """Return the error of an output that another process is at work in."""
        error = cls(message)
        error.in_use = True
        return error


class ContractError(VostoolError):
    """A plug-in model that is not found, or violates `vostool.model.interface.Segmenter`."""

    exit_code = 8
    meaning = "plug-in model not found or violates the contract"


class WarningsError(VostoolError):
    """A result that is complete, but comes with warnings although none are accepted."""

    exit_code = 9
    meaning = "warnings, with --fail-on-warning"


class TrainingError(VostoolError):
    """Training that diverged: a loss, gradient or weight that is not finite."""

    exit_code = 10
    meaning = "training diverged"


KINDS: tuple[type[VostoolError], ...] = (VostoolError, *VostoolError.__subclasses__())

# every exit code with its meaning; --help is made from it, and the README is tested against it
EXIT_CODES: dict[int, str] = {
    0: "done",
    **{kind.exit_code: kind.meaning for kind in KINDS},
    130: "interrupted",
    143: "terminated",
}


class Caution(str):
    """A warning message with a stable code."""

    code: str

    def __new__(cls, code: str, message: str) -> Self:
        """Give a message a code, unless it has a more specific one already."""
        caution = super().__new__(cls, message)
        caution.code = message.code if isinstance(message, Caution) else code
        return caution
