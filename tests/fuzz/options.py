"""What is fuzzed besides damaged files: the values of options, and the video on stdin.

A value is drawn from the grammar of its option, some of it odd, so that many commands succeed.
"""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.fuzz import edits
from tests.fuzz.cases import CLIP, MODEL, OUTPUT, TOY, Base, damaged, document, odd_texts
from tests.fuzz.edits import ODD_NUMBERS, some
from tests.fuzz.running import Case
from vostool.inference.cuts import OnCut
from vostool.media.film_formats import MP4_CODECS
from vostool.media.overlay import PALETTES
from vostool.segment.writers import WRITERS

Texts = SearchStrategy[str]

SQUARE = "1:4,26,20,26,20,42,4,42"  # around the object of the clip
BOX = "1:2,24,20,20"
ODDS = 12  # of so many values one is odd
TOY_FILES = ("clip.mp4", "clip.png", "toy.safetensors")


def mostly(valid: Texts, odd: Texts = odd_texts) -> Texts:
    """Return texts of which most are drawn from the first; `one_of` has each alternative once."""
    return st.integers(1, ODDS).flatmap(lambda drawn: odd if drawn == ODDS // 2 else valid)


odd_numbers = st.one_of(st.sampled_from(ODD_NUMBERS).map(str), odd_texts)
numbers = mostly(st.integers(0, 50).map(str), st.one_of(st.integers(-3, 99).map(str), odd_numbers))
ids = mostly(st.just("1"), st.one_of(st.just("2"), odd_numbers))


def listed(parts: Texts, separator: str = ",", most: int = 3) -> Texts:
    return st.lists(parts, min_size=1, max_size=most).map(separator.join)


def option(name: str, values: Texts) -> Texts:
    """Return an option with one of some values, as one argument."""
    return values.map(lambda value: f"{name}={value}".replace("\0", "_"))


def with_some(case: Case, options: Sequence[Texts], most: int = 3) -> SearchStrategy[Case]:
    """Return a case with some more options."""
    more = st.lists(st.one_of(*options), max_size=most)
    return more.map(lambda given: replace(case, arguments=(*case.arguments, *given)))


def drawings(base: Base) -> SearchStrategy[Case]:
    """Return masks that are drawn, or taken from damaged files of other tools."""
    files = (*TOY_FILES, "cutout.png")
    case = base.case("drawing", ("mask", "clip.mp4", "-o", "out/first.png", *TOY), files, "labels")
    corners = listed(numbers, ",", 12).map("1:{}".format)
    valid = {"--polygon": SQUARE, "--box": BOX, "--ellipse": BOX}
    shapes = [option(name, mostly(st.just(text), corners)) for name, text in valid.items()]
    flags = ("--snap", "--largest", "--fill-holes", "--frame-only", "--overwrite")
    more = [
        *(st.just(flag) for flag in flags),
        option("--grow", numbers),
        option("--frame", mostly(st.integers(0, 3).map(str))),
        option("--threshold", mostly(st.just("0.5"), odd_numbers)),
    ]
    png = st.one_of(some(edits.png_edits), some(edits.byte_edits))
    kinds = {
        "clip.png": png,
        "cutout.png": png,
        "out/coco.json": document(edits.JSON),
        "out/cvat.xml": st.one_of(some(edits.line_edits), some(edits.byte_edits)),
        "out/labelme/00000.json": document(edits.JSON),
    }

    def taken(name: str) -> SearchStrategy[Case]:
        given = replace(case, arguments=(*case.arguments, "--from", name))
        return damaged(given, name, kinds[name])

    drawn = st.builds(lambda text: replace(case, arguments=(*case.arguments, text)), shapes[0])
    either = st.one_of(drawn, st.sampled_from(sorted(kinds)).flatmap(taken))
    return either.flatmap(lambda each: with_some(each, (*shapes, *more)))


def outputs(base: Base) -> SearchStrategy[Case]:
    """Return runs with any outputs, in any form."""
    case = base.case("output", ("segment", *CLIP, *TOY, *OUTPUT), TOY_FILES)

    def variants(kind: str) -> Texts:
        return st.sampled_from([f"{kind}={each}".strip("=") for each in WRITERS[kind].variants])

    kinds = st.sampled_from(sorted(WRITERS)).flatmap(variants)
    steps = st.sampled_from(("fill", "largest", "feather=1.5", "smooth=2", "1:grow=3", "grow=-60"))
    amounts = st.builds("{}={}".format, st.sampled_from(("grow", "feather", "smooth")), numbers)
    more = [
        option("--names", mostly(listed(st.builds("{}={}".format, ids, mostly(st.just("horse")))))),
        option("--finish", mostly(listed(mostly(steps, amounts)))),
        option("--effect-on", mostly(st.sampled_from(("objects", "background")), ids)),
        option("--opacity", mostly(st.just("0.3"), odd_numbers)),
        option("--palette", mostly(st.sampled_from(sorted(PALETTES)))),
        option("--codec", mostly(st.sampled_from(sorted(MP4_CODECS)))),
        option("--crf", numbers),
        st.sampled_from(("--no-masks", "--no-overlay", "--cutouts", "--no-state")),
    ]
    write = option("--write", mostly(listed(mostly(kinds))))
    written = st.builds(lambda text: replace(case, arguments=(*case.arguments, text)), write)
    return written.flatmap(lambda each: with_some(each, more))


def stretches(base: Base) -> SearchStrategy[Case]:
    """Return runs of a part of a video, with absent objects, cuts, and both ways."""
    case = base.case("stretch", ("segment", *CLIP, *TOY, *OUTPUT), TOY_FILES)
    frames = mostly(st.integers(0, 3).map(str), numbers)
    absent = st.one_of(
        st.builds("{}:{}-{}".format, ids, frames, mostly(frames, st.just(""))),
        st.builds("{}:{}".format, ids, frames),
    )
    times = mostly(frames, st.builds("0:{}".format, mostly(st.just("0.04"), odd_numbers)))
    return with_some(
        case,
        [
            option("--absent", mostly(absent)),
            option("--cuts", mostly(st.sampled_from(sorted(OnCut)))),
            option("--start", times),
            option("--end", times),
            option("--stride", mostly(st.just("2"), odd_numbers)),
            option("--check", mostly(st.just("1"), odd_numbers)),
            option("--mask", mostly(times).map("{}:clip.png".format)),
            option("--mask", mostly(ids).map("{}@clip.png".format)),
            st.sampled_from(("--backward", "--dry-run", "--resume", "--fail-on-warning")),
        ],
        most=4,
    )


def pipes(base: Base) -> SearchStrategy[Case]:
    """Return runs of a damaged video on stdin, with masks in a folder or on stdout."""
    names = ("clip.y4m", "clip.ts", "clip.mkv")
    masks = (OUTPUT, ("-o", "-"))
    more = [
        option("--stride", st.just("2")),
        option("--start", st.sampled_from(("1", "0:0.04"))),
        option("--end", mostly(st.sampled_from(("2", "0")))),
        st.sampled_from(("--backward", "--resume", "--cutouts", "--dry-run", "--cuts=reset")),
    ]

    def of(name: str, output: tuple[str, ...]) -> SearchStrategy[Case]:
        given = ("segment", "-", "--mask", "clip.png", *TOY, *output)
        case = replace(base.case("pipe", given, (name, *TOY_FILES[1:])), stdin=name)
        edit = st.one_of(st.just(bytes), some(edits.byte_edits), some(edits.byte_edits))
        return damaged(case, name, edit).flatmap(lambda each: with_some(each, more, 2))

    return st.tuples(st.sampled_from(names), st.sampled_from(masks)).flatmap(
        lambda drawn: of(*drawn)
    )


def weights_commands(base: Base) -> SearchStrategy[Case]:
    """Return looks into damaged weights, and imports of them."""
    kinds = {
        "tiny.safetensors": document(edits.SAFETENSORS),
        "few.pth": document(edits.CHECKPOINT, (*edits.ODD_VALUES, *edits.ODD_TENSORS)),
    }
    actions = (("show",), ("show", "--json"), ("import", "-o", "out/new.safetensors"))

    def of(name: str, action: tuple[str, ...]) -> SearchStrategy[Case]:
        case = base.case("weights_command", ("weights", *action, name), (name,))
        return damaged(case, name, kinds[name])

    shown = st.tuples(st.sampled_from(sorted(kinds)), st.sampled_from(actions))
    used = base.case(
        "weights_command",
        ("segment", *CLIP, "--weights", "few.pth", *MODEL, *OUTPUT),
        (*TOY_FILES[:2], "few.pth"),
    )
    return st.one_of(
        shown.flatmap(lambda drawn: of(*drawn)), damaged(used, "few.pth", kinds["few.pth"])
    )
