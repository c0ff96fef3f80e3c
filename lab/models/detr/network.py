"""DETR: a backbone, a transformer, and two heads that predict a set of boxes.

Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020. With the defaults the parameters have the
names of the authors' code (``backbone.0.body``, ``transformer``, ``query_embed``, ...), so its checkpoints load.
``queries="anchor"`` replaces the decoder by that of ``lab.models.detr.anchor``.

Names: B images, S positions of the feature map, D ``embed_dim``, Q ``num_queries``, K classes, L decoder layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from lab.checking import check_choice, check_multiple
from lab.errors import ConfigError
from lab.layers.attention import attention_mask
from lab.layers.mlp import MLP
from lab.layers.position import LearnedPositionEncoding, SinePositionEncoding
from lab.layers.transformer import Decoder, Encoder
from lab.models.detr.anchor import AnchorDecoder, spread_anchors
from lab.models.detr.backbone import build_backbone
from lab.models.detr.criterion import CLASSIFICATIONS, LOSS_OPTIONS, DETRCriterion, DETRLossOptions
from lab.models.detr.proposals import ProposalHead
from lab.ops.boxes import box_cxcywh_to_xyxy
from lab.ops.precision import full_precision
from lab.ranges import (
    Depth,
    Divides,
    Dropout,
    Ge,
    Layers,
    Le,
    MinLen,
    MultipleOf,
    OneOf,
    Size,
    Word,
)
from lab.structures import DetectionPredictions, DetectionTargets, Term

PRIOR = 0.01  # initial probability of a focal classifier: Lin et al., "Focal Loss", 2017, section 4.1


@dataclass
class DETROutputs:
    """The network's outputs, for every decoder layer.

    Attributes:
        all_logits: (L, B, Q, K + 1), the last class being no-object; (L, B, Q, K) with ``sigmoid_focal``.
        all_boxes: (L, B, Q, 4) cxcywh in 0..1 of each unpadded image.
        num_groups: the number of groups in the Q queries, one after the other; 1 outside of training.
        proposals: with proposed anchors the logits (B, S, K) and boxes (B, S, 4) of all positions.
    """

    all_logits: Tensor
    all_boxes: Tensor
    num_groups: int = 1
    proposals: tuple[Tensor, Tensor] | None = None

    @property
    def logits(self) -> Tensor:
        """(B, Q, K + 1) of the last layer."""
        return self.all_logits[-1]

    @property
    def boxes(self) -> Tensor:
        """(B, Q, 4) of the last layer, cxcywh in 0..1."""
        return self.all_boxes[-1]

    @property
    def aux_outputs(self) -> tuple[DETROutputs, ...]:
        """The outputs of the earlier layers, first to last."""
        count = len(self.all_logits) - 1
        return tuple(DETROutputs(self.all_logits[i : i + 1], self.all_boxes[i : i + 1]) for i in range(count))


class Body(nn.Module):
    """Holds the feature extractor under the name ``body``, as the authors' checkpoints have it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        """Return the last feature map (B, C, h, w)."""
        features: Sequence[Tensor] = self.body(images)
        return features[-1]


class Transformer(nn.Module):
    """Encoder and decoder under the names of the authors' checkpoints."""

    def __init__(self, encoder: Encoder, decoder: Decoder | AnchorDecoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder


class DETR(nn.Module):
    """Detection transformer; a ``lab.structures.Detector``.

    Args:
        num_classes: K; 91 for the authors' COCO checkpoints, which use COCO's own category numbers.
        num_queries: Q, the most objects that can be found in one image.
        embed_dim: D, a multiple of 4 and of ``num_heads``.
        num_heads: heads of every attention.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: L.
        feedforward_dim: hidden width of the feed-forward nets.
        dropout: probability in every transformer layer.
        activation: ``relu``, ``gelu`` or ``silu``.
        backbone: a registered model with ``features_only``, or ``conv_stem`` (``lab.models.detr.backbone``).
        backbone_norm: norm layers of a registered backbone.
        stem_widths: channels of each stage of ``conv_stem``; the first stage has a quarter of the images' resolution,
            each further stage halves it.
        frozen_backbone: prefixes of the names of the backbone's parameters that are not trained.
        dilation: keep the resolution in the backbone's last stage (DC5).
        position: ``sine`` or ``learned`` encoding of the feature map.
        queries: ``learned`` embeddings, or ``anchor`` boxes that each layer refines.
        anchors: ``learned``, or ``proposed`` by the encoder, which needs ``sigmoid_focal``; with ``queries="anchor"``
            only.
        classification: ``softmax`` with a no-object class, or ``sigmoid_focal``.
        num_groups: groups of queries in training, each matched separately (Group DETR); evaluation uses only the first
            group. Learned anchors only.
        aux_loss: compute the loss for every decoder layer, not only for the last.
        loss_options: weights of the matching and of the loss's terms.
        max_detections: the most predictions that ``sigmoid_focal`` returns for an image.

    Raises:
        ConfigError: a choice is unknown, or a size does not divide.
    """

    def __init__(
        self,
        num_classes: Size = 91,
        num_queries: Size = 100,
        embed_dim: Annotated[Size, MultipleOf(4)] = 256,
        num_heads: Annotated[Size, Divides("embed_dim")] = 8,
        num_encoder_layers: Depth = 6,
        num_decoder_layers: Layers = 6,
        feedforward_dim: Size = 2048,
        dropout: Dropout = 0.1,
        activation: Annotated[str, OneOf("relu", "gelu", "silu")] = "relu",
        backbone: Word = "resnet50",
        backbone_norm: Annotated[str, OneOf("batch_norm", "frozen_batch_norm", "group_norm")] = "frozen_batch_norm",
        stem_widths: Annotated[Sequence[Size], MinLen(1)] = (64, 96),
        frozen_backbone: Sequence[str] = ("conv1", "bn1", "layer1"),
        dilation: bool = False,
        position: Annotated[str, OneOf("sine", "learned")] = "sine",
        queries: Annotated[str, OneOf("learned", "anchor")] = "learned",
        anchors: Annotated[str, OneOf("learned", "proposed")] = "learned",
        classification: Annotated[str, OneOf("softmax", "sigmoid_focal")] = "softmax",
        num_groups: Annotated[int, Ge(1), Le(1000)] = 1,
        aux_loss: bool = True,
        loss_options: DETRLossOptions = LOSS_OPTIONS,
        max_detections: Size = 100,
    ) -> None:
        super().__init__()
        check_choice("position", position, ("sine", "learned"))
        check_choice("queries", queries, ("learned", "anchor"))
        check_choice("anchors", anchors, ("learned", "proposed"))
        check_choice("classification", classification, CLASSIFICATIONS)
        check_multiple("embed_dim", embed_dim, 4)  # for the position encoding
        _check_together(queries, anchors, classification, num_groups)
        self.num_classes = num_classes
        self.num_queries = num_queries
        self.num_groups = num_groups
        self.has_proposals = anchors == "proposed"
        self.classification = classification
        self.aux_loss = aux_loss
        self.max_detections = max_detections

        body, num_channels = build_backbone(backbone, norm=backbone_norm, dilation=dilation, stem_widths=stem_widths)
        _freeze(body, frozen_backbone)
        encoding = SinePositionEncoding(embed_dim) if position == "sine" else LearnedPositionEncoding(embed_dim)
        self.backbone = nn.ModuleList([Body(body), encoding])
        self.input_proj = nn.Conv2d(num_channels, embed_dim, kernel_size=1)
        layer = (embed_dim, num_heads, feedforward_dim, dropout, activation)
        decoder_class = Decoder if queries == "learned" else AnchorDecoder
        self.transformer = Transformer(Encoder(num_encoder_layers, *layer), decoder_class(num_decoder_layers, *layer))
        self.class_embed = nn.Linear(embed_dim, num_classes + (classification == "softmax"))
        self.bbox_embed = MLP(embed_dim, embed_dim, 4, 3)
        if queries == "learned":
            self.query_embed = nn.Embedding(num_queries, embed_dim)
        elif anchors == "learned":
            boxes = spread_anchors(num_groups * num_queries)
            self.query_embed = nn.Embedding(len(boxes), 4, _weight=boxes)
        else:
            self.proposals = ProposalHead(embed_dim, num_classes)
        self._begin(queries)
        self.criterion = DETRCriterion(num_queries, num_classes, classification, loss_options)

    @property
    def most_objects(self) -> tuple[str, int]:
        """The argument that limits the objects of an image, and its value."""
        return "num_queries", self.num_queries

    def _begin(self, queries: str) -> None:
        """Let every layer begin with its anchor, and ``sigmoid_focal`` with the rare classes of the focal loss."""
        if queries == "anchor":
            for parameter in self.bbox_embed.layers[-1].parameters():  # initially every layer keeps its anchors
                nn.init.zeros_(parameter)
        if self.classification == "sigmoid_focal":
            for name, parameter in self.named_parameters():
                if name.endswith("class_embed.bias"):
                    nn.init.constant_(parameter, math.log(PRIOR / (1 - PRIOR)))

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> DETROutputs:
        """Detect.

        Args:
            images: (B, 3, H, W) normalised.
            padding_mask: (B, H, W) bool, True where padded; None when nothing is padded.

        Returns:
            The outputs of every decoder layer; of the last only without ``aux_loss``.
        """
        features = self.backbone[0](images)
        height, width = features.shape[-2:]
        if padding_mask is not None:
            padding_mask = F.interpolate(padding_mask[:, None].float(), size=(height, width))[:, 0] > 0.5
        position = self.backbone[1](height, width, features.device, padding_mask).to(features.dtype)
        mask = attention_mask(None if padding_mask is None else padding_mask.flatten(1))
        tokens = self.input_proj(features).flatten(2).transpose(1, 2)
        memory = self.transformer.encoder(tokens, position, mask)

        decoder = self.transformer.decoder
        if isinstance(decoder, Decoder):
            query_position = self.query_embed.weight.expand(images.shape[0], -1, -1)
            states = decoder(query_position, memory, position, mask, every_layer=self.aux_loss)
            return DETROutputs(self.class_embed(states), full_precision(self.bbox_embed(states)).sigmoid())
        num_groups = self.num_groups if self.training else 1
        content, proposals = None, None
        if self.has_proposals:
            logits, place_boxes = self.proposals(memory, height, width, padding_mask)
            content, anchors = self.proposals.select(memory, logits, place_boxes, self.num_queries)
            proposals = (logits, place_boxes.sigmoid())
        else:
            anchors = self.query_embed.weight[: num_groups * self.num_queries].expand(images.shape[0], -1, -1)
        states, boxes = decoder(anchors, memory, position, self.bbox_embed, mask, num_groups, content)
        if not self.aux_loss:
            states, boxes = states[-1:], boxes[-1:]
        return DETROutputs(self.class_embed(states), boxes, num_groups, proposals)

    def totals(self, targets: DetectionTargets) -> dict[str, float]:
        """Return this batch's share of the normalisers: number of boxes and sum of class weights."""
        return self.criterion.totals(targets)

    def loss(self, outputs: DETROutputs, targets: DetectionTargets) -> dict[str, Term]:
        """Return the weighted terms of every layer (``DETRCriterion``)."""
        return self.criterion(outputs.all_logits, outputs.all_boxes, targets, outputs.num_groups, outputs.proposals)

    def predict(self, outputs: DETROutputs, original_sizes: Tensor) -> DetectionPredictions:
        """Return one box for each query, or with ``sigmoid_focal`` the best pairs of query and class; no threshold.

        Args:
            outputs: the result of ``forward``.
            original_sizes: (B, 2) (height, width); boxes are returned in pixels of these sizes.
        """
        boxes = box_cxcywh_to_xyxy(full_precision(outputs.boxes))
        boxes = boxes * original_sizes.to(boxes.dtype).flip(-1).repeat(1, 2)[:, None]
        logits = full_precision(outputs.logits)
        if self.classification == "softmax":
            scores, labels = logits.softmax(-1)[..., :-1].max(-1)
            return DetectionPredictions(boxes, scores, labels)
        count = min(self.max_detections, logits.shape[1] * logits.shape[2])
        scores, place = logits.sigmoid().flatten(1).topk(count, dim=1)
        query = place.div(logits.shape[2], rounding_mode="floor")
        boxes = boxes.gather(1, query[..., None].expand(-1, -1, 4))
        return DetectionPredictions(boxes, scores, place % logits.shape[2])


def _check_together(queries: str, anchors: str, classification: str, num_groups: int) -> None:
    """Refuse choices that do not go together."""
    if anchors == "proposed" and (queries, classification) != ("anchor", "sigmoid_focal"):
        raise ConfigError("anchors=proposed needs queries=anchor and classification=sigmoid_focal")
    if num_groups > 1 and (queries, anchors) != ("anchor", "learned"):
        raise ConfigError(f"num_groups {num_groups} needs queries=anchor and anchors=learned; else it must be 1")


def _freeze(body: nn.Module, beginnings: Sequence[str]) -> None:
    """Switch off the training of the parameters whose names begin so."""
    for name, parameter in body.named_parameters():
        if name.startswith(tuple(beginnings)):
            parameter.requires_grad_(False)
