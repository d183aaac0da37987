"""Default folders, under the name of the module that had them before there were several parts."""

from ncalab.core import ROOT_PATH, TASK_PATH, WEIGHTS_PATH

__CURRENT_PATH = ROOT_PATH

__all__ = ["ROOT_PATH", "TASK_PATH", "WEIGHTS_PATH", "__CURRENT_PATH"]
