from vostool import errors
from vostool.errors import TrainingError, VostoolError


def kinds() -> list[type[VostoolError]]:
    return [VostoolError, *VostoolError.__subclasses__()]


def test_every_kind_of_error_has_an_exit_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in kinds() if kind is not TrainingError]
    assert sorted(codes) == list(range(1, len(codes) + 1))


def test_a_run_that_diverged_has_the_exit_code_1() -> None:
    assert TrainingError.exit_code == VostoolError.exit_code == 1


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        words = line.strip(" ├└─").split()
        if len(words) > 1 and words[0].endswith("Error") and words[1].isdigit():
            drawn[words[0]] = int(words[1])
    assert drawn == {kind.__name__: kind.exit_code for kind in kinds()}
