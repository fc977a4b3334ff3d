"""Ctrl-C that is not lost.

Python raises KeyboardInterrupt wherever it is; in a destructor or a callback of a library it is
printed and dropped, and a long command would go on to its end as if nothing had been said.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

_asked = threading.Event()


def install() -> None:
    """Remember Ctrl-C from now on; somebody else's handler is left alone."""
    ours = threading.current_thread() is threading.main_thread()
    if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _remember)


def check() -> None:
    """Between the steps of a long command.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed and nobody has stopped yet.
    """
    if _asked.is_set():
        raise KeyboardInterrupt


def _remember(number: int, frame: Any) -> None:  # noqa: ANN401 - signal's
    _asked.set()
    signal.default_int_handler(number, frame)
