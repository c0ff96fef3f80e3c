"""The registered SASRecs, each as the code that it is named after sets it for Amazon's data sets."""

from __future__ import annotations

from lab.models.sasrec.network import SASRec
from lab.registry import register_model


@register_model(converter="lab.models.sasrec.weights.convert")
def sasrec(
    num_items: int,
    max_length: int = 50,
    embed_dim: int = 50,
    num_blocks: int = 2,
    num_heads: int = 1,
    feedforward_dim: int | None = None,
    dropout: float = 0.5,
    loss: str = "bce",
    calibration: float = 0.75,
) -> SASRec:
    """Build the authors' network. Paper, ranked among 100 sampled items: NDCG@10 0.536 on Amazon Games."""
    return SASRec(
        num_items,
        "official",
        max_length,
        embed_dim,
        num_blocks,
        num_heads,
        feedforward_dim,
        dropout,
        loss=loss,
        calibration=calibration,
    )


@register_model(converter="lab.models.sasrec.weights.convert")
def sasrec_pmixer(
    num_items: int,
    max_length: int = 50,
    embed_dim: int = 50,
    num_blocks: int = 2,
    num_heads: int = 1,
    feedforward_dim: int | None = None,
    dropout: float = 0.5,
    norm: str = "post",
    loss: str = "bce",
    calibration: float = 0.75,
    position_rows: int | None = None,
) -> SASRec:
    """Build the network of pmixer's PyTorch code; its state dicts load."""
    return SASRec(
        num_items,
        "pmixer",
        max_length,
        embed_dim,
        num_blocks,
        num_heads,
        feedforward_dim,
        dropout,
        norm,
        loss,
        calibration,
        position_rows,
    )


@register_model(converter="lab.models.sasrec.weights.convert")
def sasrec_recbole(
    num_items: int,
    max_length: int = 50,
    embed_dim: int = 64,
    num_blocks: int = 2,
    num_heads: int = 2,
    feedforward_dim: int = 256,
    dropout: float = 0.5,
    loss: str = "ce",
    calibration: float = 0.75,
) -> SASRec:
    """Build the network of RecBole, BERT's blocks; the state dicts of its SASRec load."""
    return SASRec(
        num_items,
        "recbole",
        max_length,
        embed_dim,
        num_blocks,
        num_heads,
        feedforward_dim,
        dropout,
        loss=loss,
        calibration=calibration,
    )
