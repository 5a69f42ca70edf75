"""A heartbeat for what is shown: waits count down although nothing happens."""

import threading
from collections.abc import Callable


class Ticker:
    """Calls ``tick`` every ``period`` seconds on a thread of its own, until it is stopped."""

    def __init__(self, period: float, tick: Callable[[], None]) -> None:
        self._period = period
        self._tick = tick
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, once; one that was stopped does nothing any more."""
        self._thread = threading.Thread(target=self._run, name="chunkup-render", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it and wait for it; a thread that a stuck terminal holds is left to itself."""
        self._over.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._over.wait(self._period):
            self._tick()
