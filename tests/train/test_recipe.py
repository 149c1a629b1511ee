from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vostool.errors import InputError, UsageError
from vostool.model.checkpoint import read_header
from vostool.model.stm_settings import StmSettings
from vostool.model.weights import find_weights
from vostool.train.recipe import RENAMED, Recipe, find_recipe, read_recipe
from vostool.train.state import continued

LEAST = """
[[data]]
layout = "clips"
root = "videos"

[[phases]]
steps = 100

[[phases]]
steps = 20
cycle = true
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(LEAST)
    return path


def changed(path: Path, **changes: object) -> Recipe:
    return read_recipe(path, [f"{key}={value}" for key, value in changes.items()])


class TestARecipe:
    def test_needs_only_data_and_phases(self, path: Path) -> None:
        recipe = read_recipe(path)
        assert [source.layout for source in recipe.data] == ["clips"]
        assert recipe.network == StmSettings()
        assert recipe.steps == 120
        assert recipe.encoder_weights is None

    def test_goes_through_its_phases_in_order(self, path: Path) -> None:
        recipe = read_recipe(path)
        cycles = [recipe.phase(step).cycle for step in (0, 99, 100, 119, 120, 999)]
        assert cycles == [False, False, True, True, True, True]

    def test_may_let_the_interval_grow_with_the_steps(self, path: Path) -> None:
        steps = (0, 49, 50, 99, 100, 119)
        still = changed(path, **{"phases.0.max_interval": 5})
        assert [still.max_interval(step) for step in steps] == [5, 5, 5, 5, 10, 10]
        growing = changed(path, **{"phases.0.max_interval": 5, "interval_growth": "[2, 50]"})
        assert [growing.max_interval(step) for step in steps] == [5, 5, 7, 7, 14, 14]

    def test_is_fixed_once_read(self, path: Path) -> None:
        with pytest.raises(ValidationError):
            read_recipe(path).seed = 3

    def test_comes_back_from_the_copy_in_its_run(self, path: Path) -> None:
        recipe = read_recipe(path, ["encoder_weights=imagenet", "hold_out=['a', 'b']", "seed=4"])
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe

    @pytest.mark.parametrize(
        ("start", "expected"), [("imagenet", "imagenet"), ("w.safetensors", Path("w.safetensors"))]
    )
    def test_starts_from_a_download_or_a_file(
        self, start: str, expected: object, path: Path
    ) -> None:
        assert changed(path, encoder_weights=start).encoder_weights == expected


class TestChanges:
    @pytest.mark.parametrize(
        ("change", "name", "value"),
        [
            ("seed=7", "seed", 7),
            ("gamma = 0.5", "gamma", 0.5),
            ("precision=fp32", "precision", "fp32"),
            ("precision='fp32'", "precision", "fp32"),
            ("hold_out=['a']", "hold_out", ["a"]),
            ("data_root=/some/where", "data_root", Path("/some/where")),
            ("data_root=a=b", "data_root", Path("a=b")),
        ],
    )
    def test_set_one_entry(self, change: str, name: str, value: object, path: Path) -> None:
        before, after = read_recipe(path), read_recipe(path, [change])
        assert getattr(after, name) == value
        assert after == before.model_copy(update={name: value})

    def test_reach_into_parts_and_lists(self, path: Path) -> None:
        recipe = read_recipe(
            path, ["network.key_channels=8", "phases.1.steps=5", "data.0.layout=photographs"]
        )
        assert recipe.network.key_channels == 8
        assert [phase.steps for phase in recipe.phases] == [100, 5]
        assert recipe.data[0].layout == "photographs"

    def test_are_applied_in_order(self, path: Path) -> None:
        assert read_recipe(path, ["seed=1", "seed=2"]).seed == 2

    def test_without_a_value_are_refused(self, path: Path) -> None:
        with pytest.raises(UsageError, match="--set seed: expected key=value"):
            read_recipe(path, ["seed"])

    @pytest.mark.parametrize(
        "change", ["phases.7.steps=1", "phases.x.steps=1", "phases.0=1", "seed.x=1"]
    )
    def test_that_lead_nowhere_are_refused(self, change: str, path: Path) -> None:
        path.write_text("seed = 1\n" + LEAST)
        with pytest.raises(UsageError, match="--set"):
            read_recipe(path, [change])


class TestRefusals:
    def refusal(self, path: Path, *changes: str) -> str:
        with pytest.raises(UsageError) as caught:
            read_recipe(path, changes)
        assert str(caught.value).startswith(f"{path}: ")
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ("steps=3", "steps"),
            ("network.depth=3", "network.depth"),
            ("phases.1.sizes=3", "phases.1.sizes"),
            ("seed=soon", "seed"),
            ("learning_rate=0", "learning_rate"),
            ("phases.0.videos=1.5", "phases.0.videos"),
            ("frames=1", "frames"),
            ("precision=fp16", "precision"),
            ("average=1", "average"),
            ("data=[]", "data"),
            ("network.backbone=vgg", "network.backbone"),
            ("data.0.layout=films", "data.0.layout"),
            ("data.0.use=none", "data.0.use"),
            ("data.0.donor=true", "data.0.donor"),
            ("clips=0", "clips"),
            ("max_objects=1", "max_objects"),
            ("late_share=2", "late_share"),
            ("interval_growth=[5, 0]", "interval_growth.1"),
            ("optimizer=sgd", "optimizer"),
            ("schedule=step", "schedule"),
        ],
    )
    def test_name_the_key(self, change: str, named: str, path: Path) -> None:
        assert f": {named}: " in self.refusal(path, change)

    def test_of_a_recipe_without_phases(self, path: Path) -> None:
        path.write_text(LEAST.replace("[[phases]]", "[[other]]"))
        assert "phases" in self.refusal(path)

    @pytest.mark.parametrize("size", ["[100, 100]", "[0, 32]", "[-16, 32]"])
    def test_of_a_size_that_is_no_multiple_of_16(self, size: str, path: Path) -> None:
        assert "phases.0.size" in self.refusal(path, f"phases.0.size={size}")

    @pytest.mark.parametrize("content", [b"steps =", b"a = 1\na = 2", b"a = " + b"9" * 5000])
    def test_of_what_is_not_toml(self, content: bytes, path: Path) -> None:
        path.write_bytes(content)
        with pytest.raises(InputError, match="not TOML"):
            read_recipe(path)

    def test_of_what_is_not_text(self, path: Path) -> None:
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(InputError, match="expected TOML in UTF-8"):
            read_recipe(path)

    def test_of_a_missing_file_or_a_folder(self, tmp_path: Path) -> None:
        for path in (tmp_path / "missing.toml", tmp_path):
            with pytest.raises(InputError, match="cannot be read: "):
                read_recipe(path)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ("network.decoder_channels=[0,8,8]", "network"),
            ("network.decoder_channels=[8,8,99999999999]", "network"),
            ("network.key_channels=99999999999999999999", "network"),
            ("network.kernel_sigma=inf", "network"),
            ('freeze=[""]', "freeze.0"),
            ("noise=inf", "noise"),
            ("learning_rate=nan", "learning_rate"),
            ("seed=99999999999999999999", "seed"),
            (f"warmup={10**400}", "warmup"),
            ("interval_growth=[-3, 1]", "interval_growth.0"),
            ("phases.0.size=[16000000, 16]", "phases.0.size"),
            ("max_objects=255", "max_objects"),
            ('data_root="a\\u0000"', "data_root"),
            ('data.0.root="a\\u0000"', "data.0.root"),
        ],
    )
    def test_a_value_that_no_run_can_have_is_refused_by_its_key(
        self, change: str, named: str, path: Path
    ) -> None:
        assert f": {named}: " in self.refusal(path, change)

    @pytest.mark.parametrize("value", ["9" * 5000, "[" * 3000])
    def test_a_value_that_is_too_long_to_read_is_refused(self, value: str, path: Path) -> None:
        with pytest.raises(UsageError, match="--set seed: its value cannot be read"):
            read_recipe(path, [f"seed={value}"])
        path.write_text(f"seed = {value}\n{LEAST}")
        with pytest.raises(InputError, match="not TOML"):
            read_recipe(path)


class TestOldKeys:
    OLD = """
    several = 0.25
    most = 3
    late = 0.5
    start = "imagenet"
    begin = "default"
    teacher = "default"
    """

    def test_old_keys_are_read_under_their_new_names_with_a_warning(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path.write_text(self.OLD + LEAST + "imitate = true\n")
        recipe = read_recipe(path)
        assert (recipe.multi_object_share, recipe.max_objects, recipe.late_share) == (0.25, 3, 0.5)
        assert (recipe.encoder_weights, recipe.init_weights) == ("imagenet", Path("default"))
        assert [phase.distill for phase in recipe.phases] == [False, True]
        for old, new in RENAMED.items():
            assert f"the recipe's key {old} is now called {new}" in caplog.messages
        caplog.clear()
        assert Recipe.model_validate(recipe.model_dump()) == recipe
        assert not caplog.messages

    def test_set_reaches_a_key_by_its_old_name(self, path: Path) -> None:
        path.write_text("multi_object_share = 0.25\n" + LEAST)
        assert read_recipe(path, ["several=0.75"]).multi_object_share == 0.75

    def test_set_replaces_a_key_that_the_recipe_has_by_its_old_name(self, path: Path) -> None:
        path.write_text("several = 0.25\n" + LEAST)
        assert read_recipe(path, ["multi_object_share=0.75"]).multi_object_share == 0.75

    def test_a_key_with_both_names_is_refused(self, path: Path) -> None:
        path.write_text("several = 0.25\nmulti_object_share = 0.5\n" + LEAST)
        with pytest.raises(UsageError, match="both multi_object_share and several"):
            read_recipe(path)

    def test_old_names_are_unknown_keys_in_parts_that_never_had_them(self, path: Path) -> None:
        with pytest.raises(UsageError, match=r"phases\.0\.several"):
            read_recipe(path, ["phases.0.several=1"])


class TestAShippedRecipe:
    SHIPPED = sorted(find_recipe("default").parent.glob("*.toml"))

    @pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
    def test_is_valid_and_found_by_its_name(self, path: Path) -> None:
        assert find_recipe(path.stem) == path
        assert read_recipe(path).steps > 0

    def test_gives_way_to_a_file_of_that_name(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(path.parent)
        assert find_recipe(str(path)) == path
        assert find_recipe("recipe.toml") == Path("recipe.toml")
        Path("paper").write_text(LEAST)
        assert find_recipe("paper") == Path("paper")

    def test_that_there_is_not_is_refused_with_those_that_there_are(self) -> None:
        with pytest.raises(InputError, match=r"papre: no such recipe; .*paper"):
            find_recipe("papre")

    def test_of_the_paper_is_the_paper_s(self) -> None:
        recipe = read_recipe(find_recipe("paper"))
        assert (recipe.clips, recipe.frames, recipe.gamma) == (4, 3, 1)
        assert (recipe.optimizer, recipe.schedule) == ("adam", "constant")
        assert recipe.learning_rate == recipe.encoder_learning_rate == 1e-5
        assert recipe.network.backbone == "resnet50"
        assert all(phase.cycle and phase.size == (240, 432) for phase in recipe.phases)
        assert recipe.steps == 240 * 883  # epochs of 3531 clips, four a step
        assert (recipe.clip_norm, recipe.average, recipe.backwards) == (0, 0, False)

    def test_of_the_paper_with_coco_is_a_stage_before_it_with_the_same_network(self) -> None:
        """The rows with a dagger: pseudo clips of COCO alone, a larger input, no cycle yet."""
        coco, paper = (read_recipe(find_recipe(name)) for name in ("paper-coco", "paper"))
        assert coco.network == paper.network
        assert [source.layout for source in coco.data] == ["coco"]
        (phase,) = coco.phases
        assert (phase.videos, phase.paste, phase.cycle) == (0, 0.5, False)
        assert phase.size == (384, 384)
        assert (phase.size[0] <= coco.data_short_side) and phase.size[0] > paper.phases[0].size[0]
        assert coco.steps * (coco.clips or 0) == 800_000
        same = ("optimizer", "schedule", "learning_rate", "clips", "frames", "gamma", "backwards")
        for name in (*same, "encoder_learning_rate", "clip_norm", "average", "warmup"):
            assert getattr(coco, name) == getattr(paper, name), name

    def test_of_default_is_of_the_shipped_network(self) -> None:
        # but for the kernel and the weight that weights trained without them are read with
        reading = {"memory": "stm", "kernel_sigma": 7.0, "annotated_weight": 1.0}
        shipped = StmSettings.model_validate(read_header(find_weights("default"))["settings"])
        network = read_recipe(find_recipe("default")).network
        assert network == shipped.model_copy(update=reading)


def test_defaults_are_within_their_own_limits() -> None:
    least: dict[str, Any] = {"data": [{"layout": "clips", "root": "."}], "phases": [{"steps": 1}]}
    recipe = Recipe.model_validate(least)
    assert Recipe.model_validate(recipe.model_dump()) == recipe


def test_a_run_of_published_weights_resumes_by_a_recipe_that_does_not_name_their_kind() -> None:
    entries: dict[str, Any] = {
        "data": [{"layout": "clips", "root": "videos"}],
        "phases": [{"steps": 5}],
        "network": {"key_channels": 8},
    }
    new = Recipe.model_validate(entries)
    network = new.network.model_copy(update={"published": "stm-official"})
    old = new.model_copy(update={"network": network})
    assert continued(old, new, 0, Path("run")).network.published == "stm-official"
    other = Recipe.model_validate({**entries, "network": {"key_channels": 9}})
    with pytest.raises(UsageError, match="its run has another network than the recipe"):
        continued(old, other, 0, Path("run"))
