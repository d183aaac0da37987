"""A player for notebooks: pictures, a button and a slider in one piece of HTML."""

import base64
import io
import json
import secrets
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from PIL import Image

_TEMPLATE = files(__package__).joinpath("player.html").read_text(encoding="utf-8")


def player_html(
    images: Sequence[Image.Image], *, interval: int, pause: int, repeat: bool, name: str
) -> str:
    """Write an animation as HTML that needs nothing from elsewhere.

    Matplotlib's ``to_jshtml`` loads the symbols of its buttons from the network.

    Args:
        images: RGB images of one size, at least one.
        interval: Time of each in milliseconds.
        pause: How much longer the last one is shown before the first follows, in milliseconds.
        repeat: Whether the first follows the last.
        name: What the animation shows, for readers who cannot see it.
    """
    frames = [_as_address(image) for image in images]
    return _TEMPLATE.format(
        id=f"ncalab-player-{secrets.token_hex(8)}",
        width=images[0].width,
        start=frames[0],
        alt=escape(name),
        frames=json.dumps(frames),
        last=len(frames) - 1,
        interval=interval,
        pause=pause,
        repeat=json.dumps(repeat),
    )


def _as_address(image: Image.Image) -> str:
    """Return an image as the address of a PNG that holds it."""
    file = io.BytesIO()
    image.save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
