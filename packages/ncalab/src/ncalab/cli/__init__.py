"""The command line: ``ncalab grow``, ``train``, ``predict``, ``animate``, ``export``, ``info``.

It parses, checks and calls the library. ``commands`` holds what is typed, ``jobs`` what is then
done, ``config`` the settings files of ``ncalab train``. Only ``jobs`` and ``config`` import torch,
and a command imports them when it runs, so that ``--help`` answers at once.
"""

from ncalab.cli.app import main

__all__ = ["main"]
