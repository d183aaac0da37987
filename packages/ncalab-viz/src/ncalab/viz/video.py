"""Films, written by the program ffmpeg."""

import shutil
from importlib import import_module
from pathlib import Path

from matplotlib.animation import FFMpegWriter

# Even sides and this format of pixels are what players expect.
_PIXELS = ["-pix_fmt", "yuv420p"]
_CODECS = {".mp4": ("libx264", []), ".webm": ("libvpx-vp9", ["-b:v", "0", "-crf", "24"])}
SUFFIXES = tuple(_CODECS)


def find_ffmpeg() -> str:
    """Return the path of ffmpeg: that of the package imageio-ffmpeg, else an installed one.

    Raises:
        RuntimeError: If there is none; says what to type.
    """
    try:
        path: str = import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        found = shutil.which("ffmpeg")
        if found is None:
            raise RuntimeError(
                "a film needs the program ffmpeg; it comes with the extra video of ncalab-viz "
                '(from a clone: pip install "./packages/ncalab-viz[video]"). Or save a .gif'
            ) from None
        return found
    return path


class FilmWriter(FFMpegWriter):
    """Matplotlib's writer, with an ffmpeg that need not be on the path.

    Args:
        path: File that ends in ".mp4" or ".webm".
        fps: Frames a second.
    """

    def __init__(self, path: Path, *, fps: float) -> None:
        codec, options = _CODECS[path.suffix.lower()]
        super().__init__(fps=fps, codec=codec, extra_args=[*_PIXELS, *options])  # type: ignore[arg-type]  # ffmpeg takes fractions

    @classmethod
    def bin_path(cls) -> str:
        """Return the path of the program."""
        return find_ffmpeg()
