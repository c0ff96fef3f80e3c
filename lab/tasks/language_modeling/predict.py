"""``stage=predict`` of language models."""

from __future__ import annotations

from pathlib import Path

from lab.errors import ConfigError
from lab.training.predictor import MakeTrainer, Predictor


class LanguagePredictor(Predictor):
    """Continues prompts, or fills hidden words."""

    def run(self, make_trainer: MakeTrainer, folder: Path, rank: int) -> None:
        """Not there yet.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("stage=predict: language models do not continue texts yet")
