"""Decides when W&B may use the network, and asks in the background whether its server answers."""

from __future__ import annotations

import os
import ssl
import threading
import urllib.error
import urllib.request

REPORTING = "WANDB_ERROR_REPORTING"
"""W&B's switch for its own error reports and usage numbers, which it sends to its cloud in every mode."""
PERIOD = 60.0
"""Seconds between two requests to a server that did not answer; doubled when a start fails although it answered."""
FIRST_WAIT = 4.0
"""Seconds that a start waits for the server's first answer."""
_PATIENCE = 10.0
_MOST_TRIES = 3


def silence() -> str | None:
    """Switch W&B's error reports off before anything else, and return the user's setting.

    They would resolve a host name, at the end of the process at the latest, even in offline mode.
    """
    given = os.environ.get(REPORTING)
    os.environ[REPORTING] = "false"
    return given


def allow(given: str | None) -> None:
    """Restore the user's setting of error reports: in online mode W&B uses the network anyway."""
    if given is not None:
        os.environ[REPORTING] = given


def answers(url: str) -> bool:
    """Whether a server at ``url`` answers in HTTP, with any status."""
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE):
            return True
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:  # no route, no name; an untrusted certificate does come from a server
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, ValueError):  # no answer in time; no HTTP; no URL
        return False


class ServerWatch:
    """Asks repeatedly, in its own thread, whether a server answers; the first time at once.

    Args:
        url: the server's address.
        period: seconds between two requests.
    """

    def __init__(self, url: str, period: float = PERIOD) -> None:
        self.url, self.period, self.tries = url, period, 0
        self._looked, self._answered, self._stopped = (threading.Event() for _ in range(3))
        self._begin(0.0)

    def _begin(self, delay: float) -> None:
        threading.Thread(target=self._look, args=(delay,), name="wandb-server-watch", daemon=True).start()

    def _look(self, delay: float) -> None:
        while not self._stopped.wait(delay):
            answered = answers(self.url)
            if answered:
                self._answered.set()
            self._looked.set()
            if answered:
                return
            delay = self.period

    @property
    def answered(self) -> bool:
        """Whether the server has answered since the watch began, or since ``again``."""
        return self._answered.is_set() and not self._stopped.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds`` for the first request, and return whether there was an answer."""
        self._looked.wait(seconds)
        return self._answered.is_set()

    def again(self) -> bool:
        """Continue after a failed start, with longer pauses; after a few failures stop and return False."""
        self.tries += 1
        if self.tries >= _MOST_TRIES:
            self.stop()
            return False
        self._answered.clear()
        self._begin(self.period)
        self.period *= 2
        return True

    def stop(self) -> None:
        """Stop asking."""
        self._stopped.set()
