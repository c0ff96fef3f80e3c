"""MaskFormer: a backbone, a pixel decoder, and a transformer that predicts a set of masks, each with a class.

Cheng, Schwing, Kirillov, "Per-Pixel Classification is Not All You Need for Semantic Segmentation", NeurIPS 2021. The
transformer is DETR's decoder (``lab.layers.transformer``), the masks are products of its states with features of every
pixel (figure 2). As in the authors' code padding is not masked anywhere.

Names: B images, S places of the coarsest map, D ``embed_dim``, E ``mask_dim``, Q ``num_queries``, K classes, L decoder
layers, h and w the finest map's size, a quarter of the image's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from lab.checking import check_choice, check_multiple
from lab.layers.fpn import FeaturePyramid, fill_convolution
from lab.layers.mlp import MLP
from lab.layers.position import SinePositionEncoding
from lab.layers.transformer import Decoder, Encoder
from lab.models.maskformer import inference
from lab.models.maskformer.criterion import MaskCriterion
from lab.ops.winograd import conv3x3
from lab.ranges import Depth, Divides, Draws, Dropout, Layers, MultipleOf, OneOf, Probability, Size, Weight, Word
from lab.registry.create import create_model
from lab.structures import Instances, SegmentationTargets, Segments, Term

PIXEL_DECODERS = ("fpn", "transformer_encoder")
MAX_INSTANCES = 100


@dataclass
class MaskFormerOutputs:
    """What the network says, of every decoder layer. Masks are products that are only formed where they are asked for.

    Attributes:
        all_class_logits: (L, B, Q, K + 1), the last class being no-object.
        mask_embed: (L, B, Q, E).
        mask_features: (B, E, h, w); None where ``folded`` stands for it.
        image_size: height and width of the images, padding included.
        folded: (B, Q, h, w) logits of the only layer's masks, made without ``mask_features``.
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


class PixelDecoder(FeaturePyramid):
    """The feature pyramid, with or without a transformer encoder on the coarsest map.

    With one, the encoder's output takes the place of that map, in the pyramid and as what the queries look at.

    Args:
        in_channels: channels of the backbone's maps, finest first.
        channels: of the pyramid and the encoder.
        mask_dim: E.
        num_groups: of every group norm.
        encoder: of the coarsest map, or None.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, mask_dim: int, num_groups: int, encoder: Encoder | None
    ) -> None:
        top = None if encoder is None else channels
        super().__init__(in_channels, channels, mask_dim, num_groups, top)
        self.has_encoder = encoder is not None
        self.memory_channels = in_channels[-1] if encoder is None else channels
        if encoder is not None:
            self.input_proj = nn.Conv2d(in_channels[-1], channels, kernel_size=1)
            fill_convolution(self.input_proj)
            self.transformer = nn.ModuleDict({"encoder": encoder})
            self.position = SinePositionEncoding(channels)

    def top(self, x: Tensor) -> Tensor:
        """Map the coarsest map (B, C, H, W) to what stands in for it."""
        if not self.has_encoder:
            return x
        x = self.input_proj(x)
        height, width = x.shape[-2:]
        position = self.position(height, width, x.device).to(x.dtype)
        tokens: Tensor = self.transformer["encoder"](x.flatten(2).transpose(1, 2), position)
        return tokens.transpose(1, 2).unflatten(2, (height, width))


class TransformerPredictor(nn.Module):
    """DETR's decoder with a class and the code of a mask for each query.

    Args:
        in_channels: channels of the map that the queries look at; projected where they are not D.
        num_classes: K.
        num_queries: Q.
        mask_dim: E.
        decoder: D wide.
        embed_dim: D.
    """

    def __init__(
        self, in_channels: int, num_classes: int, num_queries: int, mask_dim: int, decoder: Decoder, embed_dim: int
    ) -> None:
        super().__init__()
        self.position = SinePositionEncoding(embed_dim)
        self.transformer = nn.ModuleDict({"decoder": decoder})
        self.query_embed = nn.Embedding(num_queries, embed_dim)
        self.input_proj: nn.Module = nn.Sequential()
        if in_channels != embed_dim:
            self.input_proj = nn.Conv2d(in_channels, embed_dim, kernel_size=1)
            fill_convolution(self.input_proj)
        self.class_embed = nn.Linear(embed_dim, num_classes + 1)
        self.mask_embed = MLP(embed_dim, embed_dim, mask_dim, 3)

    def forward(self, x: Tensor, every_layer: bool) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to class logits (L, B, Q, K + 1) and codes of masks (L, B, Q, E)."""
        x = self.input_proj(x)
        position = self.position(*x.shape[-2:], x.device).to(x.dtype)
        queries = self.query_embed.weight.expand(len(x), -1, -1)
        memory = x.flatten(2).transpose(1, 2)
        states: Tensor = self.transformer["decoder"](queries, memory, position, every_layer=every_layer)
        return self.class_embed(states), self.mask_embed(states)


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
        backbone_options: its arguments.
        pixel_decoder: ``fpn`` or ``transformer_encoder``.
        num_groups: of the pyramid's group norms.
        aux_loss: put a loss on every decoder layer, not on the last only.
        cost_class: weight of the class in the matching.
        cost_mask: weight of the focal distance of masks in the matching.
        cost_dice: weight of the dice distance of masks in the matching.
        class_loss_weight: weight of the class term.
        mask_loss_weight: weight of the focal term.
        dice_loss_weight: weight of the dice term.
        no_object_weight: weight of no-object in the cross-entropy.
        num_points: 0 for a loss on every pixel; else on that many sampled points of each mask (Mask2Former).
        object_threshold: panoptic: the least class probability of a query.
        overlap_threshold: panoptic: the least visible part of a query's mask.

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
        cost_class: Weight = 1.0,
        cost_mask: Weight = 20.0,
        cost_dice: Weight = 1.0,
        class_loss_weight: Weight = 1.0,
        mask_loss_weight: Weight = 20.0,
        dice_loss_weight: Weight = 1.0,
        no_object_weight: Weight = 0.1,
        num_points: Draws = 0,
        object_threshold: Probability = 0.8,
        overlap_threshold: Probability = 0.8,
    ) -> None:
        super().__init__()
        check_choice("pixel_decoder", pixel_decoder, PIXEL_DECODERS)
        check_multiple("embed_dim", embed_dim, 4)  # for the encoding of places
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
        self.criterion = MaskCriterion(
            num_queries=num_queries,
            num_classes=num_classes,
            cost_class=cost_class,
            cost_mask=cost_mask,
            cost_dice=cost_dice,
            class_loss_weight=class_loss_weight,
            mask_loss_weight=mask_loss_weight,
            dice_loss_weight=dice_loss_weight,
            no_object_weight=no_object_weight,
            num_points=num_points,
        )

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> MaskFormerOutputs:
        """Segment.

        Args:
            images: (B, 3, H, W) normalised.
            padding_mask: not looked at, as in the authors' code: padding is part of the image.

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
        # Validation is on every pixel: a loss that differs from call to call could not be compared.
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
        """Return the best scored objects (``inference.instances``)."""
        return inference.instances(
            outputs.class_logits,
            outputs.mask_logits,
            outputs.image_size,
            sizes,
            original_sizes,
            thing_labels,
            MAX_INSTANCES,
        )


def fold_masks(embed: Tensor, pixels: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return (B, Q, h, w) ``mask_product(embed, convolution(pixels))`` with a convolution to Q channels instead of E.

    Both are linear: the codes (B, Q, E) are taken into the kernel first. Cheaper where Q < E; equal but for rounding.
    """
    num_images, num_queries = embed.shape[:2]
    kernel = torch.einsum("bne,eikl->bnikl", embed, convolution.weight)
    assert convolution.bias is not None
    bias = embed @ convolution.bias
    masks = [conv3x3(pixels[i : i + 1], kernel[i], bias[i]) for i in range(num_images)]
    return torch.cat(masks) if num_images != 1 else masks[0].view(1, num_queries, *pixels.shape[-2:])
