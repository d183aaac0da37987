"""Callbacks: what a training does at its events, beside its steps, and what users add to it."""

from ncalab.train.callbacks.callback import BatchResult, Callback, EpochResult, Status, Training
from ncalab.train.callbacks.calling import CallbackList, UserCallbacks, check_callbacks
from ncalab.train.callbacks.checkpointing import Checkpointing
from ncalab.train.callbacks.figures import BatchFigure, UncertaintyFigure
from ncalab.train.callbacks.on_epoch import EpochFunction, OnEpoch
from ncalab.train.callbacks.progress import Progress
from ncalab.train.callbacks.recording import EarlyStop, HealthWarnings, HistoryRecorder
from ncalab.train.callbacks.standard import LoopCallbacks, Requests, make_callbacks
from ncalab.train.callbacks.tensorboard import TensorBoardLogger

__all__ = [
    "BatchFigure",
    "BatchResult",
    "Callback",
    "CallbackList",
    "Checkpointing",
    "EarlyStop",
    "EpochFunction",
    "EpochResult",
    "HealthWarnings",
    "HistoryRecorder",
    "LoopCallbacks",
    "OnEpoch",
    "Progress",
    "Requests",
    "Status",
    "TensorBoardLogger",
    "Training",
    "UncertaintyFigure",
    "UserCallbacks",
    "check_callbacks",
    "make_callbacks",
]
