"""Order of the channels of a cell: image, hidden, output."""

from typing import NamedTuple


class Channels(NamedTuple):
    """Numbers of channels, in the order in which a cell has them, and where each kind stands.

    >>> channels = Channels(3, 16, 2)
    >>> channels.hidden, channels.output, channels.total
    (slice(3, 19, None), slice(19, 21, None), 21)
    """

    num_image: int
    num_hidden: int
    num_output: int

    @property
    def image(self) -> slice:
        """Slice of the image channels."""
        return slice(0, self.num_image)

    @property
    def hidden(self) -> slice:
        """Slice of the hidden channels."""
        return slice(self.num_image, self.num_image + self.num_hidden)

    @property
    def output(self) -> slice:
        """Slice of the output channels; empty if there are none."""
        return slice(self.num_image + self.num_hidden, self.total)

    @property
    def total(self) -> int:
        """Number of all channels of a cell."""
        return self.num_image + self.num_hidden + self.num_output
