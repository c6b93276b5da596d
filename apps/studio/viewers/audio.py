"""Sound: played, and drawn as waveform and spectrogram."""

from apps.studio.viewers.viewer import MEGABYTE, Viewer

AUDIO = Viewer(
    "audio",
    "sound",
    frozenset({"wav", "flac", "ogg", "mp3"}),
    max_bytes=128 * MEGABYTE,
    height=440,
    scripts=("fourier",),
)
