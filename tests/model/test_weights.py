import hashlib
from pathlib import Path

import pytest

from vostool.errors import WeightsError
from vostool.model.weights import find_weights, sha256, weights_folder

TABLE = """
default = "small"

[small]
file = "small.safetensors"

[large]
file = "large-v2.safetensors"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Named weights, installed in a folder that is not the working directory."""
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "weights.toml").write_text(TABLE)
    monkeypatch.setattr("vostool.model.weights.weights_folder", lambda: installed)
    monkeypatch.chdir(tmp_path)
    return installed


class TestNames:
    def test_are_those_in_the_table(self, folder: Path) -> None:
        assert find_weights("large") == folder / "large-v2.safetensors"
        assert find_weights("small") == folder / "small.safetensors"

    def test_include_the_default(self, folder: Path) -> None:
        assert find_weights("default") == folder / "small.safetensors"

    def test_that_no_file_can_have_are_answered_too(self, folder: Path) -> None:
        with pytest.raises(WeightsError, match="no such weights file"):
            find_weights("n" * 300 + ".safetensors")

    def test_that_are_unknown_are_answered_with_those_there_are(self, folder: Path) -> None:
        words = r"tiny: no weights of that name; expected one of small, large$"
        with pytest.raises(WeightsError, match=words):
            find_weights("tiny")


class TestPaths:
    @pytest.mark.parametrize("name", ["mine.safetensors", "mine", "sub/mine", "default"])
    def test_are_taken_as_they_are(self, name: str, folder: Path) -> None:
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
        assert find_weights(name) == path

    @pytest.mark.parametrize("name", ["mine.safetensors", "sub/mine", "/nowhere/mine"])
    def test_that_lead_nowhere_are_refused(self, name: str, folder: Path) -> None:
        with pytest.raises(WeightsError, match=f"^{name}: no such weights file"):
            find_weights(name)


def test_an_installation_without_weights_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vostool.model.weights.__file__", str(tmp_path / "vostool" / "model" / "weights.py")
    )
    with pytest.raises(WeightsError, match="the installed weights are missing"):
        weights_folder()


def test_weights_are_found_in_a_checkout_and_rather_where_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vostool.model.weights.__file__", str(tmp_path / "vostool" / "model" / "weights.py")
    )
    for folder in (tmp_path / "weights", tmp_path / "vostool" / "_weights"):
        folder.mkdir(parents=True)
        (folder / "weights.toml").write_text(TABLE)
        assert weights_folder() == folder


def test_the_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "w").write_bytes(content)
    assert sha256(tmp_path / "w") == hashlib.sha256(content).hexdigest()
