"""BERT: a bidirectional transformer that is pretrained on hidden words and pairs of sentences."""
