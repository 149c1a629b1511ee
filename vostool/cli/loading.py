"""Load the model of a command, and say under which licence its weights are."""

from typing import TYPE_CHECKING

from vostool.cli.printing import print_message

if TYPE_CHECKING:
    from vostool.inference.options import ModelOptions
    from vostool.inference.predictor import Predictor


def load_model(options: "ModelOptions", quiet: bool) -> "Predictor":
    """Return the model of the options, as `load_predictor` does."""
    from vostool.allocator import bound_arenas
    from vostool.inference.predictor import load_predictor

    bound_arenas()  # before a thread reads or writes
    model = load_predictor(options)
    if model.licence is not None:
        print_message(f"{model.weights}: {model.published}, {model.licence}", quiet)
    return model
