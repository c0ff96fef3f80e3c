"""Features of tokens: a row for each token of each text, equal to what the encoder gives for the text alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet

from lab import create_model
from lab.data.datamodule import LoadPlan
from lab.data.text.tokenizer import TextTokenizer
from lab.errors import ConfigError
from lab.structures.text import TextSpec
from lab.training.text_features import write_features
from tests.dist.plain import make_trainer

TOKENIZER = TextTokenizer.characters("abcdefgh ", ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))


class Holder:
    """What ``write_features`` reads of a predictor: the file, a task of this network, and a share of the data."""

    def __init__(self, source: Path, net: torch.nn.Module, batch_size: int = 2) -> None:
        spec = TextSpec("text", (), TOKENIZER.to_text(), TOKENIZER.vocab_size, 10)
        self.source, self.task = str(source), type("Task", (), {"net": net, "spec": spec})
        self.data = type("Data", (), {"plan": LoadPlan(), "batch_size": batch_size})


def write(folder: Path, net: torch.nn.Module, layers: list[int], text: str) -> Any:
    (folder / "texts.txt").write_text(text)
    holder: Any = Holder(folder / "texts.txt", net)

    def trainer(callbacks: Any, progress: bool = True) -> Any:
        return make_trainer(None, 0, 1, callbacks=callbacks, inference_mode=False)

    write_features(holder, layers, "text", trainer, folder / "out", 0)
    return parquet.read_table(folder / "out" / "features.parquet")


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    options = {"embed_dim": 16, "num_heads": 2, "feedforward_dim": 32, "num_layers": 2, "max_length": 10}
    return create_model("bert_tiny", vocab_size=TOKENIZER.vocab_size, **options).eval()


def test_rows_are_the_states_of_tokens(tmp_path: Path, net: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Three texts, one of them a pair and one cut off, in batches of two."""
    table = write(tmp_path, net, [-1, 0], "abc\nab ||| cd\nabcdefghabc\n")
    assert table.column_names == ["text", "position", "token", "layer_-1", "layer_0"]
    assert table["text"].to_pylist() == [0] * 5 + [1] * 7 + [2] * 10
    assert table["position"].to_pylist() == [*range(5), *range(7), *range(10)]
    tokens = table["token"].to_pylist()
    assert tokens[:12] == ["[CLS]", "a", "b", "c", "[SEP]", "[CLS]", "a", "b", "[SEP]", "c", "d", "[SEP]"]
    ids = torch.tensor([[TOKENIZER.token_to_id(token) for token in tokens[5:12]]])
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    alone = net.encode(ids, token_type_ids=types, hidden_states=True).hidden_states
    found = torch.tensor(table["layer_-1"].to_pylist()[5:12])
    torch.testing.assert_close(found, alone[-1][0].detach(), atol=1e-5, rtol=0)
    embeddings = torch.tensor(table["layer_0"].to_pylist()[5:12])
    torch.testing.assert_close(embeddings, alone[0][0].detach(), atol=1e-5, rtol=0)
    assert "3 texts, 22 tokens, 1 of them cut off at 10 tokens" in capsys.readouterr().out


def test_what_is_refused(tmp_path: Path, net: Any) -> None:
    with pytest.raises(ConfigError, match=r"^eval\.features=\[-4\]: the network has 2 layers, -1 the last one"):
        write(tmp_path, net, [-4], "abc\n")
    with pytest.raises(ConfigError, match=r"^eval\.features: Linear is no encoder of text with layers"):
        write(tmp_path, torch.nn.Linear(2, 2), [-1], "abc\n")
    assert [path.name for path in tmp_path.iterdir()] == ["texts.txt"]
