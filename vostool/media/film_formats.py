"""The kinds of film that are written: container, codecs, and what pictures they take."""

from dataclasses import dataclass, field
from typing import Literal

MAX_SIDE = 16384  # pixels, of H.264
NARROW = 256  # pixels, 16 macroblocks; see `FilmFormat.options_at`
# fragments of 0.2 s that reach the file as soon as they are whole; the header comes with the
# first, for only then is known how much of the sound comes before time 0
FRAGMENTED = {
    "movflags": "+delay_moov",
    "frag_duration": "200000",
    "flush_packets": "1",
}
# at its end such a film gets an index as well, and need not be copied for that
HYBRID = {**FRAGMENTED, "movflags": "+delay_moov+hybrid_fragmented"}
# clusters of 1 s; no random numbers in the file, so that the same film is the same bytes
CLUSTERS = {"cluster_time_limit": "1000", "flush_packets": "1", "fflags": "+bitexact"}

Pictures = Literal["rgb24", "rgba", "rgba64le", "gray", "gray16le"]
CHANNELS = {"rgb24": 3, "rgba": 4, "rgba64le": 4, "gray": 1, "gray16le": 1}


@dataclass(frozen=True)
class SoundFormat:
    """Which sound is copied, and what other sound becomes (stereo)."""

    copied: frozenset[str] = frozenset({"aac", "mp3", "mp3float", "opus", "libopus", "flac"})
    encoder: str = "aac"
    samples: str = "fltp"  # the format the encoder takes
    frame: int = 1024  # samples
    bit_rate: int | None = 192_000
    before_start: bool = True  # whether packets may have negative times


@dataclass(frozen=True)
class FilmFormat:
    """How pictures and their sound become a file."""

    name: str  # for people
    container: str
    codec: str
    pictures: Pictures  # what `VideoWriter.write` takes: (H, W, channels), or (H, W) if grey
    stored: str  # the pixel format in the file
    codec_options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    sound: SoundFormat = SoundFormat()
    even: bool = False  # whether sides must be even, as 4:2:0 needs it
    index_first: bool = False  # whether the whole film is copied once more, its index in front
    max_side: int = MAX_SIDE
    tag: str | None = None  # of the codec; None: the usual one

    @property
    def is_16_bit(self) -> bool:
        """Whether pictures are uint16, else uint8."""
        return self.pictures.endswith("le")

    def options_at(self, width: int) -> dict[str, str]:
        """Return the encoder's options for a width, with which equal pictures give equal bytes.

        On CPUs with AVX-512 x264's macroblock tree of a picture of few macroblocks a row depends on
        what lay in memory before.
        """
        if self.codec != "libx264" or width >= NARROW:
            return self.codec_options
        return {**self.codec_options, "x264-params": "mbtree=0"}

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of a picture."""
        channels = CHANNELS[self.pictures]
        return (height, width) if channels == 1 else (height, width, channels)


@dataclass(frozen=True)
class Mp4Codec:
    """A codec of films in an MP4; none has B-frames, which cost the last picture its duration."""

    name: str
    encoder: str
    quality: int  # constant rate factor unless another is asked for; from 0, the best
    worst: int
    options: dict[str, str]
    tag: str | None = None  # for players that go by it


MP4_CODECS = {
    "h264": Mp4Codec("H.264", "libx264", 18, 51, {"preset": "veryfast", "bf": "0"}),
    "hevc": Mp4Codec(
        "HEVC",
        "libx265",
        22,
        51,
        {"preset": "veryfast", "x265-params": "log-level=none:bframes=0"},
        tag="hvc1",
    ),
    "av1": Mp4Codec(
        "AV1", "libsvtav1", 30, 63, {"preset": "9", "svtav1-params": "pred-struct=1:lookahead=0"}
    ),
}


def mp4(codec: str = "h264", quality: int | None = None) -> FilmFormat:
    """Return a codec of `MP4_CODECS` in an MP4; H.264 plays everywhere.

    `quality` is the encoder's constant rate factor, from 0 (best).
    """
    chosen = MP4_CODECS[codec]
    crf = chosen.quality if quality is None else quality
    return FilmFormat(
        name=chosen.name,
        container="mp4",
        codec=chosen.encoder,
        pictures="rgb24",
        stored="yuv420p",
        codec_options={**chosen.options, "crf": str(crf)},
        container_options=FRAGMENTED,
        even=True,
        index_first=True,
        tag=chosen.tag,
    )


# editors and compositors take it: 4:4:4, 10 bits, alpha 16
PRORES_4444 = FilmFormat(
    name="ProRes 4444",
    container="mov",
    codec="prores_ks",
    pictures="rgba64le",
    stored="yuva444p10le",
    codec_options={"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
    container_options=HYBRID,
    sound=SoundFormat(frozenset({"aac", "mp3", "mp3float", "alac", "pcm_s16le", "pcm_s24le"})),
)
# browsers play it
VP9 = FilmFormat(
    name="VP9",
    container="webm",
    codec="libvpx-vp9",
    pictures="rgba",
    stored="yuva420p",
    codec_options={
        "crf": "20",
        "b": "0",
        "auto-alt-ref": "0",  # the encoder of alpha has none
        "deadline": "good",
        "cpu-used": "5",
        "row-mt": "1",
    },
    container_options=CLUSTERS,
    sound=SoundFormat(
        frozenset({"opus", "libopus", "vorbis", "libvorbis"}),
        encoder="libopus",
        samples="flt",
        frame=960,
        bit_rate=128_000,
        before_start=False,
    ),
    even=True,
)
LOSSLESS_SOUND = SoundFormat(
    encoder="flac", samples="s16", frame=4608, bit_rate=None, before_start=False
)
# every frame for itself, in slices with checksums
FFV1_OPTIONS = {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"}


def ffv1(pictures: Pictures, stored: str) -> FilmFormat:
    """Return FFV1 in Matroska: lossless."""
    return FilmFormat(
        name="FFV1",
        container="matroska",
        codec="ffv1",
        pictures=pictures,
        stored=stored,
        codec_options=FFV1_OPTIONS,
        container_options=CLUSTERS,
        sound=LOSSLESS_SOUND,
    )


FFV1_ALPHA = ffv1("rgba", "bgra")
FFV1_GREY = ffv1("gray", "gray")
FFV1_GREY_16 = ffv1("gray16le", "gray16le")
