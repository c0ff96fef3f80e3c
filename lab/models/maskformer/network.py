"""MaskFormer: a backbone, a pixel decoder, and a transformer that predicts a set of masks, each with a class.

Cheng, Schwing, Kirillov, "Per-Pixel Classification is Not All You Need for Semantic Segmentation", NeurIPS 2021. The
transformer is DETR's decoder (``lab.layers.transformer``); masks are products of its states with features of every
pixel (figure 2). As in the authors' code, padding is not masked anywhere.

Names: B images, S positions of the coarsest map, D ``embed_dim``, E ``mask_dim``, Q ``num_queries``, K classes,
L decoder layers, h and w the finest map's size, a quarter of the image's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lab.checking import check_choice, check_multiple
from lab.layers.transformer import Decoder, Encoder
from lab.models.maskformer import inference
from lab.models.maskformer.criterion import LOSS_OPTIONS, MaskCriterion, MaskLossOptions
from lab.models.maskformer.decoders import PixelDecoder, TransformerPredictor, fold_masks
from lab.ranges import Depth, Divides, Dropout, Layers, MultipleOf, OneOf, Probability, Size, Word
from lab.registry.create import create_model
from lab.structures import Instances, SegmentationTargets, Segments, Term

PIXEL_DECODERS = ("fpn", "transformer_encoder")
MAX_INSTANCES = 100


@dataclass
class MaskFormerOutputs:
    """The network's outputs, for every decoder layer. Masks are products, computed only when they are needed.

    Attributes:
        all_class_logits: (L, B, Q, K + 1), the last class being no-object.
        mask_embed: (L, B, Q, E).
        mask_features: (B, E, h, w); None if ``folded`` is given.
        image_size: height and width of the images, with padding.
        folded: (B, Q, h, w) mask logits of the only layer, computed without ``mask_features``.
    """

    all_class_logits: Tensor
    mask_embed: Tensor
    mask_features: Tensor | None
    image_size: tuple[int, int]
    folded: Tensor | None = None

    @property
    def class_logits(self) -> Tensor:
        """(B, Q, K + 1) of the last layer."""
        return self.all_class_logits[-1]

    @property
    def mask_logits(self) -> Tensor:
        """(B, Q, h, w) of the last layer."""
        if self.folded is not None:
            return self.folded
        assert self.mask_features is not None
        return mask_product(self.mask_embed[-1], self.mask_features)

    @property
    def aux_outputs(self) -> tuple[MaskFormerOutputs, ...]:
        """The outputs of the earlier layers, first to last."""
        layers = range(len(self.all_class_logits) - 1)
        return tuple(
            MaskFormerOutputs(
                self.all_class_logits[i : i + 1], self.mask_embed[i : i + 1], self.mask_features, self.image_size
            )
            for i in layers
        )


def mask_product(embed: Tensor, features: Tensor) -> Tensor:
    """Return the logits (B, N, h, w) of masks with codes (B, N, E) on features (B, E, h, w)."""
    return torch.einsum("bne,behw->bnhw", embed, features)


class MaskFormer(nn.Module):
    """Segmentation by classified masks; a ``lab.structures.MaskSegmenter``.

    Args:
        num_classes: K.
        num_queries: Q, the most segments that can be found in one image.
        embed_dim: D, a multiple of 4 and of ``num_heads``; also the width of the pyramid.
        mask_dim: E.
        num_heads: heads of every attention of the transformer.
        num_encoder_layers: layers of the pixel decoder's encoder; ``transformer_encoder`` only.
        num_decoder_layers: L.
        feedforward_dim: hidden width of the feed-forward nets.
        dropout: probability in every transformer layer.
        backbone: a registered model with ``features_only``.
        backbone_options: arguments of the backbone.
        pixel_decoder: ``fpn`` or ``transformer_encoder``.
        num_groups: groups of the pyramid's group norms.
        aux_loss: compute the loss for every decoder layer, not only for the last.
        loss_options: weights of the matching and of the loss's terms, and the number of sampled points.
        object_threshold: panoptic: the smallest class probability of a query.
        overlap_threshold: panoptic: the smallest visible share of a query's mask.

    Raises:
        ConfigError: a choice is unknown, or a size does not divide.
    """

    def __init__(
        self,
        num_classes: Size = 150,
        num_queries: Size = 100,
        embed_dim: Annotated[Size, MultipleOf(4)] = 256,
        mask_dim: Size = 256,
        num_heads: Annotated[Size, Divides("embed_dim")] = 8,
        num_encoder_layers: Depth = 6,
        num_decoder_layers: Layers = 6,
        feedforward_dim: Size = 2048,
        dropout: Dropout = 0.1,
        backbone: Word = "resnet50",
        backbone_options: Mapping[str, Any] | None = None,
        pixel_decoder: Annotated[str, OneOf("fpn", "transformer_encoder")] = "fpn",
        num_groups: Size = 32,
        aux_loss: bool = True,
        loss_options: MaskLossOptions = LOSS_OPTIONS,
        object_threshold: Probability = 0.8,
        overlap_threshold: Probability = 0.8,
    ) -> None:
        super().__init__()
        check_choice("pixel_decoder", pixel_decoder, PIXEL_DECODERS)
        check_multiple("embed_dim", embed_dim, 4)  # for the position encoding
        self.num_classes = num_classes
        self.num_queries = num_queries
        self.aux_loss = aux_loss
        self.object_threshold = object_threshold
        self.overlap_threshold = overlap_threshold

        body: Any = create_model(backbone, features_only=True, out_indices=(1, 2, 3, 4), **dict(backbone_options or {}))
        self.backbone = body
        layer = (embed_dim, num_heads, feedforward_dim, dropout)
        encoder = Encoder(num_encoder_layers, *layer) if pixel_decoder == "transformer_encoder" else None
        self.pixel_decoder = PixelDecoder(body.num_channels, embed_dim, mask_dim, num_groups, encoder)
        self.predictor = TransformerPredictor(
            self.pixel_decoder.memory_channels,
            num_classes,
            num_queries,
            mask_dim,
            Decoder(num_decoder_layers, *layer),
            embed_dim,
        )
        self.criterion = MaskCriterion(num_queries, num_classes, loss_options)

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> MaskFormerOutputs:
        """Segment.

        Args:
            images: (B, 3, H, W) normalised.
            padding_mask: not used, as in the authors' code: padding is part of the image.

        Returns:
            The outputs of every decoder layer; of the last only without ``aux_loss``.
        """
        size = (images.shape[-2], images.shape[-1])
        maps = list(self.backbone(images))
        maps[-1] = self.pixel_decoder.top(maps[-1])
        logits, embed = self.predictor(maps[-1], self.aux_loss)
        pixels = self.pixel_decoder.merge(maps)
        last = self.pixel_decoder.mask_features
        if not torch.is_grad_enabled() and len(embed) == 1 and embed.shape[2] < last.out_channels:
            return MaskFormerOutputs(logits, embed, None, size, fold_masks(embed[0], pixels, last))
        return MaskFormerOutputs(logits, embed, last(pixels), size)

    def totals(self, targets: SegmentationTargets) -> dict[str, float]:
        """Return this batch's share of the normalisers: number of masks and sum of class weights."""
        return self.criterion.totals(targets)

    def loss(self, outputs: MaskFormerOutputs, targets: SegmentationTargets) -> dict[str, Term]:
        """Return the weighted terms of every layer (``MaskCriterion``)."""
        masks = outputs.mask_features if outputs.folded is None else outputs.folded
        embed = outputs.mask_embed if outputs.folded is None else None
        assert masks is not None
        # Validation uses every pixel: a random loss could not be compared between validations.
        return self.criterion(outputs.all_class_logits, embed, masks, targets, sample=self.training)

    def semantic(self, outputs: MaskFormerOutputs, sizes: Tensor, original_sizes: Tensor) -> list[Tensor]:
        """Return the class of each pixel (``inference.semantic``)."""
        return inference.semantic(outputs.class_logits, outputs.mask_logits, outputs.image_size, sizes, original_sizes)

    def panoptic(
        self, outputs: MaskFormerOutputs, sizes: Tensor, original_sizes: Tensor, thing_labels: Sequence[int]
    ) -> list[Segments]:
        """Return segments that do not overlap (``inference.panoptic``)."""
        return inference.panoptic(
            outputs.class_logits,
            outputs.mask_logits,
            outputs.image_size,
            sizes,
            original_sizes,
            thing_labels,
            self.object_threshold,
            self.overlap_threshold,
        )

    def instances(
        self, outputs: MaskFormerOutputs, sizes: Tensor, original_sizes: Tensor, thing_labels: Sequence[int]
    ) -> list[Instances]:
        """Return the objects with the best scores (``inference.instances``)."""
        return inference.instances(
            outputs.class_logits,
            outputs.mask_logits,
            outputs.image_size,
            sizes,
            original_sizes,
            thing_labels,
            MAX_INSTANCES,
        )
