"""Registers the kind of problem; names alone, so that nothing is imported for it."""

from lab.training.spec import TaskSpec

TASK = TaskSpec(
    name="audio",
    task="lab.tasks.audio.task:AudioTask",
    data="lab.structures.audio:AudioSpec",
    settings="lab.tasks.audio.settings:SETTINGS",
    predictor="lab.tasks.audio.predict:AudioPredictor",
    pictures="lab.tasks.audio.pictures:spectrogram_panels",
    media="lab.tasks.audio.media:audio_media",
    browse="lab.tasks.audio.browse:AudioBrowser",
)
