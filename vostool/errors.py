"""What can go wrong, as one tree; the command line turns each branch into its exit code.

    VostoolError              1  internal error
    ├── TrainingError         1  a training run that diverged
    ├── UsageError            2  options that make no sense together
    ├── InputError            3  a video or folder that cannot be read
    ├── MaskError             4  a mask that cannot be used
    ├── DeviceError           5  a device that is not there, or too little memory
    ├── WeightsError          6  a weights file that is not one
    ├── OutputError           7  a result that exists already, or cannot be written
    └── ContractError         8  a model of another package that is not what it should be

A message is one line that says what, where, expected and found.
"""


class VostoolError(Exception):
    """The root: everything that vostool raises on purpose."""

    exit_code = 1


class TrainingError(VostoolError):
    """A training run that diverged: a loss, gradient or weight that is not a finite number."""


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
