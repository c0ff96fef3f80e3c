"""What a ``[yolo]`` section says about training, with darknet's defaults where it says nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated

from lab.models.darknet.cfg import Section
from lab.ranges import Flat, OneOf, Probability, Weight

BOX_LOSSES = ("mse", "giou", "ciou")
BOX_GRADIENTS = ("darknet", "exact")
NOT_TRAINED = {"focal_loss": 0.0, "objectness_smooth": 0.0, "iou_thresh_kind": "iou", "counters_per_class": None}
"""Keys that change the loss in ways that are not there, with the values that are."""


@dataclass(frozen=True)
class DarknetLossOptions(Flat):
    """The numbers of matching and loss. None: what the ``[yolo]`` section says, or darknet's default.

    Attributes:
        ignore_thresh: a box that overlaps an object more need not be background.
        ignore_class_score: and has a class above this; 0: any does, as in the paper.
        truth_thresh: a box that overlaps an object more learns it, wherever that is; 1: none does.
        iou_thresh: further anchors learn an object whose shape they overlap more; 1: the best one alone.
        iou_loss: ``ciou``, ``giou`` or ``mse``.
        iou_normalizer: weight of the box term.
        obj_normalizer: weight of the objectness term.
        cls_normalizer: weight of the class term.
        label_smooth_eps: class targets are this much nearer to a half.
        box_gradient: ``darknet``: of boxes as shares of the image, not through the sigmoid nor the anchor's size, as
            darknet passes it on, which is what its weights are for; ``exact``: the derivative of the term.
    """

    ignore_thresh: Probability | None = None
    ignore_class_score: Probability = 0.25
    truth_thresh: Probability | None = None
    iou_thresh: Probability | None = None
    iou_loss: Annotated[str, OneOf("mse", "giou", "ciou")] | None = None
    iou_normalizer: Weight | None = None
    obj_normalizer: Weight | None = None
    cls_normalizer: Weight | None = None
    label_smooth_eps: Probability | None = None
    box_gradient: Annotated[str, OneOf("darknet", "exact")] = "darknet"


LOSS_OPTIONS = DarknetLossOptions()


@dataclass(frozen=True)
class YoloLearning:
    """The numbers of one ``[yolo]`` section; see ``DarknetLossOptions``.

    Attributes:
        sizes: width and height in pixels of all anchors, those of other sections too.
        mask: the anchors of this section.
        untrained: what of the section's loss is not there, as words; empty where it can be trained.
    """

    sizes: tuple[tuple[float, float], ...]
    mask: tuple[int, ...]
    ignore_thresh: float
    truth_thresh: float
    iou_thresh: float
    iou_loss: str
    iou_normalizer: float
    obj_normalizer: float
    cls_normalizer: float
    label_smooth_eps: float
    untrained: str = ""
    ignore_class_score: float = 0.25
    box_gradient: str = "darknet"

    def told(self, options: DarknetLossOptions) -> YoloLearning:
        """Return a copy in which the options that are not None stand in place of the section's."""
        given = {each.name: getattr(options, each.name) for each in fields(options)}
        changes = {name: value for name, value in given.items() if value is not None}
        if options.iou_loss is not None:
            changes["untrained"] = ", ".join(each for each in self.untrained.split(", ") if "iou_loss=" not in each)
        return replace(self, **changes)


def read_learning(section: Section, sizes: tuple[tuple[float, float], ...], mask: tuple[int, ...]) -> YoloLearning:
    """Return what a ``[yolo]`` section says. Raises ConfigError: a number is out of its range."""
    loss = section.word("iou_loss", "mse", (*BOX_LOSSES, "diou", "iou"))
    untrained = [] if loss in BOX_LOSSES else [f"iou_loss={loss}"]
    for key, default in NOT_TRAINED.items():
        if key in section.values and section.values[key] != str(default):
            value = section.values[key]
            if not (isinstance(default, float) and section.number(key, default, -1e6, 1e6) == default):
                untrained.append(f"{key}={value[:40]}")
    return YoloLearning(
        sizes,
        mask,
        ignore_thresh=section.number("ignore_thresh", 0.5, 0, 1),
        truth_thresh=section.number("truth_thresh", 1, 0, 1),
        iou_thresh=section.number("iou_thresh", 1, 0, 1),
        iou_loss=loss,
        iou_normalizer=section.number("iou_normalizer", 0.75, 0, 1e6),
        obj_normalizer=section.number("obj_normalizer", 1, 0, 1e6),
        cls_normalizer=section.number("cls_normalizer", 1, 0, 1e6),
        label_smooth_eps=section.number("label_smooth_eps", 0, 0, 1),
        untrained=", ".join(untrained),
    )
