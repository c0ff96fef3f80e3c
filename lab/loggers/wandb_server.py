"""When W&B may speak to the outside, and whether its server answers: asked in the background, never in the way."""

from __future__ import annotations

import os
import ssl
import threading
import urllib.error
import urllib.request

REPORTING = "WANDB_ERROR_REPORTING"
"""W&B's switch of its own error reports and usage numbers, which it sends to its cloud whatever the mode is."""
PERIOD = 60.0
"""Seconds between two looks at a server that did not answer; doubled after each try that failed although it did."""
FIRST_WAIT = 4.0
"""Seconds that a start waits for a server's first answer, whatever it is."""
_PATIENCE = 10.0
_MOST_TRIES = 3


def silence() -> str | None:
    """Switch W&B's error reports off, before it is asked anything, and return what the user had set.

    They resolve a host name at the latest when the process ends, in offline mode too.
    """
    given = os.environ.get(REPORTING)
    os.environ[REPORTING] = "false"
    return given


def allow(given: str | None) -> None:
    """Let W&B report errors as the user had set it: the mode is online, so it speaks to its server anyway."""
    if given is not None:
        os.environ[REPORTING] = given


def answers(url: str) -> bool:
    """Whether something at ``url`` speaks HTTP, whatever it says."""
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE):
            return True
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:  # no route, no name; a certificate that is not trusted comes from a server
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, ValueError):  # no answer in time; no HTTP; no URL
        return False


class ServerWatch:
    """Looks at once and then again and again, in a thread of its own, whether a server answers.

    Args:
        url: of the server.
        period: seconds between two looks.
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
        """Wait for the first look, so long at most, and return whether there is an answer."""
        self._looked.wait(seconds)
        return self._answered.is_set()

    def again(self) -> bool:
        """Go on watching after a try that failed, in longer steps; return False, and stop, after a few."""
        self.tries += 1
        if self.tries >= _MOST_TRIES:
            self.stop()
            return False
        self._answered.clear()
        self._begin(self.period)
        self.period *= 2
        return True

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
