"""What is fuzzed: commands with the files that they read, of which some are damaged."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image

from tests.conftest import TINY, draw, film
from tests.datasets.making import write_coco, write_photograph, write_video_clip
from tests.evaluate.making import predict_truth, write_davis16, write_davis17, write_youtube
from tests.fuzz import edits
from tests.fuzz.edits import LARGE_NUMBERS, ODD_NUMBERS, ODD_TEXTS, ODD_VALUES, Edit, some
from tests.fuzz.running import FOLDER_MARK, TOO_SLOW, Case, run
from tests.fuzz.traces import HERE
from tests.media.making import make_motion_jpeg, make_raw, make_video
from vostool.model.checkpoint import save_checkpoint
from vostool.model.stm import Stm

Files = Mapping[str, bytes]

CLIP = ("clip.mp4", "--mask", "clip.png")
MODEL = ("--device", "cpu", "--size", "48", "--precision", "fp32")
TOY = ("--weights", "toy.safetensors", *MODEL)
TRAIN = ("train", "recipe.toml", "--device", "cpu", "-o", "out")
OUTPUT = ("-o", "out")
# tensors of published weights, far from all: the whole would be too large to damage often
FEW = {
    "key_encoder.conv1.weight": (64, 3, 7, 7),
    "key_encoder.bn1.weight": (64,),
    "value_encoder.conv1.weight": (64, 5, 7, 7),
    "key_proj.key_proj.weight": (8, 16, 3, 3),
    "key_comp.weight": (16, 16, 3, 3),
    "decoder.pred.weight": (1, 16, 3, 3),
}
RECIPE = {
    "frames": 2,
    "objects": 1,
    "multi_object_share": 0.5,
    "precision": "fp32",
    "log_every": 1,
    "network": {"key_channels": 8, "value_channels": 16, "decoder_channels": [16, 8, 8]},
    "data": [
        {"layout": "clips", "root": "set"},
        {"layout": "photographs", "root": "photographs"},
        {"layout": "coco", "root": "coco", "split": "some.json", "in_memory": False},
    ],
    "phases": [{"steps": 1, "size": [32, 48], "paste": 0.5}],
    "validate_size": 32,
    "freeze": ["query_body", "memory_body"],
}


def write_base(folder: Path) -> None:
    """Write every file that is damaged or needed, all of them small and whole."""
    film(folder / "clip.mp4", folder / "clip.png", count=3)
    (folder / "toy.safetensors").write_bytes(b"colours need no weights")
    torch.manual_seed(0)
    save_checkpoint(folder / "tiny.safetensors", Stm(TINY).eval(), {})
    write_videos(folder)
    write_masks(folder)
    for index in range(3):
        path = folder / "frames" / f"{index:05d}.{('jpg', 'png', 'tif')[index]}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw(index)[0]).save(path)
    (folder / "jobs.csv").write_text(
        "video,mask,output,start,end,absent,write\n"
        "clip.mp4,clip.png,one,,2,1:1-1,\n"
        "clip.mkv,0:clip.png,two,0,,,masks;overlay\n"
    )
    torch.save({name: torch.zeros(shape) for name, shape in FEW.items()}, folder / "few.pth")
    write_video_clip(folder / "set", "one", count=3)
    write_photograph(folder / "photographs", "a")
    write_coco(folder / "coco")
    (folder / "recipe.toml").write_bytes(edits.dump_recipe(RECIPE))
    write_davis16(folder / "davis16", "a", count=3)
    write_davis17(folder / "davis17", "a", "b")
    predict_truth(folder / "davis17", folder / "predictions")
    write_youtube(folder / "youtube", whole_truth=False)


def write_videos(folder: Path) -> None:
    make_video(folder / "sound.mp4", count=4, sound="aac", tagged=True, rotation=90)
    make_video(folder / "clip.mkv", count=3)
    make_video(folder / "clip.nut", count=3, codec="rawvideo", pixel_format="rgb24")
    make_motion_jpeg(folder / "clip.avi", 6)
    make_video(folder / "clip.ts", count=3)
    grey = bytes([128])
    make_raw(folder / "clip.y4m", 64, 48, "yuv420p", [grey * (64 * 48 * 3 // 2)] * 3)


def write_masks(folder: Path) -> None:
    labels = draw(0)[1]
    white = Image.fromarray(labels * np.uint8(255))
    for suffix in ("tif", "jpg", "bmp", "webp"):
        white.save(folder / f"white.{suffix}")
    cutout = Image.fromarray(draw(0)[0]).convert("RGBA")
    cutout.putalpha(white)
    cutout.save(folder / "cutout.png")


# the runs that leave what is gone on with, of which the outputs become files of the base
EARLIER = {
    "batch": ("segment", "--batch", "jobs.csv", *TOY, *OUTPUT),
    "labels": ("segment", *CLIP, "--write", "masks,coco,cvat,labelme", *TOY, *OUTPUT),
    "eval": ("eval", "davis16", "davis16", *TOY, *OUTPUT),
    "score": ("eval", "davis17", "davis17", "--predictions", "predictions", *OUTPUT),
    "train": (*TRAIN, "--set", "phases.0.steps=2"),
}


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by their names in it."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@dataclass(frozen=True)
class Base:
    """Whole files, by name, and the outputs of earlier runs."""

    files: Files
    earlier: Mapping[str, Files]

    def case(
        self, kind: str, arguments: Sequence[str], names: Sequence[str], earlier: str = ""
    ) -> Case:
        """Return the undamaged case of a command that reads some files and folders."""
        files = {
            name: content
            for name, content in self.files.items()
            if any(name == each or name.startswith(f"{each}/") for each in names)
        }
        return Case(kind, tuple(arguments), {**files, **self.earlier.get(earlier, {})})


def make_base(folder: Path) -> list[str]:
    """Write what `read_base` reads: files, and the folders of earlier runs, whose names return."""
    first = folder / "first"
    first.mkdir()
    write_base(first)
    files = read_files(first)
    for name, arguments in EARLIER.items():
        outcome = run(Case(name, arguments, files), folder / name)
        if outcome.code != 0 or set(outcome.violations) - {TOO_SLOW}:  # a machine may be busy
            raise RuntimeError(f"{arguments}: {outcome}")
    return list(EARLIER)


def read_base(folder: Path) -> Base:
    """Return what `make_base` wrote."""
    earlier = {}
    for name in EARLIER:
        place = folder / name / HERE
        earlier[name] = {
            f"out/{path}": content.replace(str(place.resolve()).encode(), FOLDER_MARK)
            for path, content in read_files(place / "out").items()
            if "tensorboard" not in path
        }
    return Base(read_files(folder / "first"), earlier)


def damaged(case: Case, name: str, edit: SearchStrategy[Edit]) -> SearchStrategy[Case]:
    """Return a case with one of its files damaged."""
    return edit.map(lambda change: replace(case, damaged=name, edit=change))


def loud(cases: SearchStrategy[Case]) -> SearchStrategy[Case]:
    """Return cases with or without --json and --quiet."""
    options = st.sampled_from(((), ("--quiet",), ("--json",), ("--json", "--quiet")))
    return st.builds(
        lambda case, more: replace(case, arguments=(*case.arguments, *more)), cases, options
    )


def document(
    form: edits.Format, values: Sequence[object] = (*ODD_VALUES, *LARGE_NUMBERS)
) -> SearchStrategy[Edit]:
    """Return edits of a document, or, less often, of its bytes."""
    inner = edits.document_edits(form, values)
    return st.one_of(some(inner), some(inner), some(edits.byte_edits))


def videos(base: Base) -> SearchStrategy[Case]:
    kinds = {
        "sound.mp4": st.one_of(some(edits.mp4_edits), some(edits.byte_edits)),
        **dict.fromkeys(("clip.mkv", "clip.avi", "clip.nut"), some(edits.byte_edits)),
    }

    commands = st.sampled_from(
        (
            ("segment", "--cutouts"),
            ("segment", "--start", "1"),
            ("spectrum", "--gc-every", "1", "--gc-iters", "2"),
            ("erf", "--iters", "2"),
        )
    )

    def of(name: str, command: tuple[str, ...]) -> SearchStrategy[Case]:
        mask = "turned.png" if name in ("sound.mp4", "clip.avi") else "clip.png"
        first = f"1:{mask}" if "--start" in command else mask
        given = (*command, name, "--mask", first, *TOY, *OUTPUT)
        case = base.case("video", given, (name, "clip.png", "toy.safetensors"))
        return damaged(turned(case), name, kinds[name])

    return st.tuples(st.sampled_from(sorted(kinds)), commands).flatmap(lambda drawn: of(*drawn))


def turned(case: Case) -> Case:
    """Add the mask of a video that is shown turned by 90 degrees."""
    file = io.BytesIO()
    Image.fromarray(np.rot90(draw(0)[1])).save(file, "PNG")
    return replace(case, files={**case.files, "turned.png": file.getvalue()})


def masks(base: Base) -> SearchStrategy[Case]:
    png = st.one_of(some(edits.png_edits), some(edits.byte_edits))
    kinds = dict.fromkeys(("clip.png", "cutout.png"), png) | dict.fromkeys(
        ("white.tif", "white.jpg", "white.bmp", "white.webp"), some(edits.byte_edits)
    )

    def of(name: str, more: tuple[str, ...]) -> SearchStrategy[Case]:
        given = ("segment", "clip.mp4", "--mask", name, *more, *TOY, *OUTPUT)
        case = base.case("mask", given, ("clip.mp4", name, "toy.safetensors"))
        return damaged(case, name, kinds[name])

    options = st.sampled_from(((), ("--threshold", "0.5"), ("--no-overlay",)))
    return st.tuples(st.sampled_from(sorted(kinds)), options).flatmap(lambda drawn: of(*drawn))


def frames(base: Base) -> SearchStrategy[Case]:
    given = ("segment", "frames", "--mask", "clip.png", "--cutouts", *TOY, *OUTPUT)
    case = base.case("frames", given, ("frames", "clip.png", "toy.safetensors"))
    names = sorted(name for name in case.files if name.startswith("frames/"))
    edit = st.one_of(some(edits.byte_edits), some(edits.png_edits))
    contents = st.sampled_from(names).flatmap(lambda name: damaged(case, name, edit))

    def renamed(old: str, stem: str, suffix: str) -> Case:
        files = dict(case.files)
        files[f"frames/{file_name(stem + suffix)}"] = files.pop(old)
        return replace(case, files=files)

    suffixes = st.sampled_from((".png", ".jpg", ".PNG", ".exr", ".txt", ".mp4", ""))
    return st.one_of(contents, st.builds(renamed, st.sampled_from(names), odd_texts, suffixes))


odd_texts = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=12))


def file_name(text: str) -> str:
    """Return a text as a name that a file can have."""
    name = text.replace("/", "_").replace("\0", "_").encode("utf-8", "replace")[:255]
    return name.decode(errors="ignore").strip() or "_" if name not in (b".", b"..") else "_"


def names(base: Base) -> SearchStrategy[Case]:
    """Return odd names of videos and masks, and odd values of options."""
    case = base.case("names", (), ("clip.mp4", "clip.png", "toy.safetensors"))

    def named(video: str, mask: str) -> Case:
        video, mask = file_name(video), file_name(f"{mask}.png")
        files = {**case.files, video: case.files["clip.mp4"], mask: case.files["clip.png"]}
        given = ("segment", *TOY, *OUTPUT, "--mask", mask, "--", video)
        return replace(case, files=files, arguments=given)

    def asked(option: str, value: str) -> Case:
        given = ("segment", *CLIP, f"{option}={value}".replace("\0", "_"), *TOY, *OUTPUT)
        return replace(case, arguments=given)

    def swept(value: str) -> Case:
        files = base.case("names", (), ("davis16", "toy.safetensors")).files
        sweep = f"--sweep={value}".replace("\0", "_")
        given = ("eval", "davis16", "davis16", sweep, *TOY, *OUTPUT)
        return replace(case, files=files, arguments=given)

    options = st.sampled_from(
        ("--mask", "--start", "--end", "--threshold", "--size", "--reference", "--memory-every",
         "--memory-frames", "--memory", "--top-k", "--gc-every", "--gc-rate", "--gc-stop",
         "--kernel-sigma", "--objects-at-once", "--precision", "--device", "--model", "--weights")
    )  # fmt: skip
    values = st.one_of(
        odd_texts, st.sampled_from(ODD_NUMBERS).map(str), odd_texts.map(lambda x: f"{x}:clip.png")
    )
    sweeps = st.one_of(
        odd_texts, st.builds("{}={}".format, st.sampled_from(("size", "weights", "x")), odd_texts)
    )
    return st.one_of(
        st.builds(named, odd_texts, odd_texts),
        st.builds(asked, options, values),
        st.builds(asked, options, values),
        st.builds(swept, sweeps),
    )


def tables(base: Base) -> SearchStrategy[Case]:
    given = ("segment", "--batch", "jobs.csv", *TOY, *OUTPUT)
    needed = ("jobs.csv", "clip.mp4", "clip.mkv", "clip.png", "toy.safetensors")
    return damaged(base.case("table", given, needed), "jobs.csv", document(edits.CSV))


def reports(base: Base) -> SearchStrategy[Case]:
    """Return batches and evaluations that find a damaged run.json, claim or mask of an earlier."""
    needed = ("jobs.csv", "clip.mp4", "clip.mkv", "clip.png", "toy.safetensors", "davis16")
    kinds = [("batch", "out/one/run.json"), ("eval", "out/run.json"), ("eval", "out/results.json")]

    def of(name: str, path: str, more: tuple[str, ...]) -> SearchStrategy[Case]:
        case = base.case("report", (*EARLIER[name], *more), needed, name)
        return damaged(case, path, document(edits.JSON))

    def unfinished(name: str, path: str, more: tuple[str, ...]) -> SearchStrategy[Case]:
        case = base.case("report", (*EARLIER[name], *more), needed, name)
        state = json.loads(case.files[path]) | {"status": "running"}
        files = {**case.files, path: json.dumps(state).encode()}
        claim = json.dumps({"host": "x", "pid": 1, "pid_namespace": "", "since": "", "token": "t"})
        place = f"{path.rpartition('/')[0]}/.claim"
        claimed = damaged(
            replace(case, files={**files, place: claim.encode()}), place, document(edits.JSON)
        )
        return st.one_of(claimed, damaged(replace(case, files=files), path, document(edits.JSON)))

    options = st.sampled_from(((), ("--overwrite",)))
    return st.one_of(
        st.tuples(st.sampled_from(kinds), options).flatmap(lambda x: of(*x[0], x[1])),
        st.tuples(st.sampled_from(kinds[:2]), options).flatmap(lambda x: unfinished(*x[0], x[1])),
    )


def results(base: Base) -> SearchStrategy[Case]:
    case = base.case("results", ("eval", "compare", "out", "other.json"), (), "score")
    case = replace(case, files={**case.files, "other.json": case.files["out/results.json"]})
    both = st.sampled_from((case, replace(case, arguments=(*case.arguments, "--json"))))
    return both.flatmap(lambda each: damaged(each, "other.json", document(edits.JSON)))


def benchmarks(base: Base) -> SearchStrategy[Case]:
    """Return benchmarks with a damaged list, meta.json, mask or prediction."""
    score = ("eval", "davis17", "davis17", "--predictions", "predictions", *OUTPUT)
    video = ("eval", "youtube-vos", "youtube", *TOY, *OUTPUT, "--pack", "out/masks.zip")
    scored = base.case("benchmark", score, ("davis17", "predictions"))
    predicted = base.case("benchmark", video, ("youtube", "toy.safetensors"))
    png = st.one_of(some(edits.png_edits), some(edits.byte_edits))
    text = st.one_of(some(edits.line_edits), some(edits.byte_edits), odd_texts.map(add_line))
    return st.one_of(
        damaged(scored, "davis17/ImageSets/2017/val.txt", text),
        damaged(scored, "predictions/a/00002.png", png),
        damaged(scored, "davis17/Annotations/480p/a/00002.png", png),
        damaged(predicted, "youtube/meta.json", document(edits.JSON)),
        damaged(predicted, "youtube/JPEGImages/a/00005.jpg", some(edits.byte_edits)),
    )


def add_line(text: str) -> Edit:
    return lambda data: data + text.encode("utf-8", "surrogatepass") + b"\n"


TRAINING = ("recipe.toml", "set", "photographs", "coco")


def recipes(base: Base) -> SearchStrategy[Case]:
    case = base.case("recipe", TRAIN, TRAINING)
    keys = ("seed", "frames", "phases.0.size", "phases.0.steps", "network.key_channels", "data.0")
    texts = st.one_of(
        odd_texts, st.sampled_from((*RECIPE, *keys)), st.sampled_from(ODD_NUMBERS).map(str)
    )

    def change(key: str, value: str) -> Case:
        return replace(case, arguments=(*TRAIN, f"--set={key}={value}".replace("\0", "_")))

    changed = st.builds(change, texts, texts)
    edited = damaged(case, "recipe.toml", document(edits.TOML, ODD_VALUES))
    return st.one_of(edited, edited, changed)


def coco(base: Base) -> SearchStrategy[Case]:
    case = base.case("coco", TRAIN, TRAINING)
    entry = RECIPE["data"][2]  # type: ignore[index]
    files = {**case.files, "recipe.toml": edits.dump_recipe({**RECIPE, "data": [entry]})}
    return damaged(replace(case, files=files), "coco/some.json", document(edits.JSON))


def weights(base: Base) -> SearchStrategy[Case]:
    name = "tiny.safetensors"
    more = ("--end", "2", "--no-overlay", "--weights", name, *MODEL, *OUTPUT)
    case = base.case("weights", ("segment", *CLIP, *more), ("clip.mp4", "clip.png", name))
    return damaged(case, name, document(edits.SAFETENSORS))


def checkpoints(base: Base) -> SearchStrategy[Case]:
    values = (*ODD_VALUES, *edits.ODD_TENSORS)
    edit = {
        "out/checkpoint.pt": document(edits.CHECKPOINT, values),
        "out/log.jsonl": st.one_of(document(edits.JSON_LINES), some(edits.line_edits)),
    }

    def of(name: str, more: tuple[str, ...]) -> SearchStrategy[Case]:
        given = (*TRAIN, "--set", "phases.0.steps=3", *more)
        return damaged(base.case("checkpoint", given, TRAINING, "train"), name, edit[name])

    options = st.sampled_from((("--resume",), ("--resume",), ("--export", "out/new.safetensors")))
    return st.tuples(st.sampled_from(sorted(edit)), options).flatmap(lambda drawn: of(*drawn))
