"""What google-research/bert drew for three small documents.

``GOLDEN`` is what google-research/bert's create_pretraining_data.py (commit eedf571) gave on 2026-11-28 for the
documents of ``three_documents``, seed 12345, under Python 3.11. On the same day all of 33,379 samples of 1,000
generated documents were equal to its output, in 8 runs: seeds 12345 and 99, single tokens and whole words, two lengths.
"""

from __future__ import annotations

from lab.tasks.language_modeling.data.pairs import SentencePair

CLS, SEP, MASK = 2, 3, 4
# Ids, tokens up to and with the first [SEP], hidden positions, their tokens, whether the second text is random.
GOLDEN = {
    False: [
        ([2, 42, 43, 44, 45, 4, 47, 3, 48, 4, 50, 3], 8, [5, 9], [46, 49], False),
        ([2, 5, 6, 3, 16, 17, 18, 19, 20, 21, 22, 4, 24, 4, 26, 3], 4, [11, 13], [23, 25], True),
        ([2, 7, 8, 9, 4, 3, 18, 19, 4, 21, 22, 23, 24, 25, 26, 3], 6, [4, 8], [10, 20], True),
        ([2, 16, 17, 18, 19, 4, 21, 3, 22, 23, 24, 4, 26, 27, 3], 8, [5, 11], [20, 25], False),
        ([2, 28, 29, 30, 31, 32, 33, 34, 3, 36, 4, 38, 39, 40, 41, 3], 9, [1, 10], [28, 37], False),
        ([2, 11, 12, 13, 14, 15, 3, 28, 4, 4, 31, 32, 33, 34, 35, 3], 7, [8, 9], [29, 30], True),
    ],
    True: [
        ([2, 16, 17, 18, 19, 20, 4, 3, 5, 6, 7, 8, 9, 4, 3], 8, [6, 13], [21, 10], True),
        ([2, 5, 6, 3, 4, 4, 44, 45, 46, 47, 48, 49, 50, 3], 4, [4, 5], [42, 43], True),
        ([2, 28, 4, 30, 31, 32, 33, 4, 3, 36, 37, 38, 39, 40, 41, 3], 9, [2, 7], [29, 34], False),
        ([2, 11, 12, 13, 14, 15, 3, 39, 4, 4, 42, 43, 44, 45, 46, 3], 7, [8, 9], [40, 41], True),
        ([2, 42, 43, 44, 4, 46, 47, 3, 48, 49, 4, 3], 8, [4, 10], [45, 50], False),
        ([2, 22, 23, 4, 25, 26, 27, 3, 43, 44, 4, 46, 47, 48, 49, 3], 8, [3, 10], [24, 45], True),
        ([2, 7, 8, 9, 10, 3, 17, 18, 19, 20, 21, 22, 23, 4, 25, 3], 6, [3, 13], [9, 24], True),
    ],
}


class Lists:
    """Documents in memory: lists of sentences of token ids."""

    def __init__(self, *documents: list[list[int]]) -> None:
        self.tokens: list[int] = []
        self.places: list[list[int]] = []
        for document in documents:
            places = [len(self.tokens)]
            for sentence in document:
                self.tokens.extend(sentence)
                places.append(len(self.tokens))
            self.places.append(places)

    def __len__(self) -> int:
        return len(self.places)

    def bounds(self, document: int) -> list[int]:
        return self.places[document]

    def sample(self, pair: SentencePair) -> list[int]:
        first, second = self.tokens[pair.first : pair.first_stop], self.tokens[pair.second : pair.second_stop]
        return [CLS, *first, SEP, *second, SEP]


def three_documents() -> Lists:
    """Documents of 2, 4 and 6 sentences of 2 to 6 tokens; the tokens count up from 5 and begin again after 59."""
    documents: list[list[list[int]]] = []
    count = 0
    for number in range(3):
        document = []
        for sentence in range(2 + 2 * number):
            length = 2 + (3 * number + 2 * sentence) % 5
            document.append([5 + (count + place) % 55 for place in range(length)])
            count += length
        documents.append(document)
    return Lists(*documents)
