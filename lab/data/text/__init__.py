"""Text: tokenizers and their training, files of documents, streams of tokens, generated text."""
