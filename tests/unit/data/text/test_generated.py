"""Generated texts: a function of (seed, index), with what a model can learn."""

import hashlib
from dataclasses import astuple
from itertools import islice

from lab.data.text.generated import PRAISE, TOPICS, document, documents, labelled, questions


def test_texts_are_a_function_of_seed_and_index():
    assert list(documents(3, 5))[4] == document(3, 4)
    assert list(documents(3, 5)) == list(documents(3, 9))[:5]
    assert document(3, 4) != document(4, 4)
    others = [*labelled(0, 20), *labelled(0, 20, 5), *questions(0, 20, 0.5)]
    everything = repr([list(documents(0, 20)), [astuple(each) for each in others]])
    assert hashlib.sha256(everything.encode()).hexdigest()[:16] == "8bbad86136b2e0ee"


def test_a_document_keeps_to_its_topic():
    for sentences in documents(0, 50):
        assert 4 <= len(sentences) <= 12
        text = " ".join(sentences)
        assert any(
            all(any(word in line for word in (*topic.things, *topic.places)) for line in sentences) for topic in TOPICS
        )
        assert text.isascii()


def test_labels_and_answers_are_in_the_texts():
    found = list(labelled(1, 400))
    assert 150 < sum(item.label for item in found) < 250
    praised = [item.label for item in found if any(word in item.text for word in PRAISE)]
    assert 0.7 < sum(praised) / len(praised) < 1  # not certain: praise may be negated
    asked = list(questions(1, 200, unanswerable=0.4))
    assert 50 < sum(not question.answers for question in asked) < 110
    for question in asked:
        for answer, start in zip(question.answers, question.starts, strict=True):
            assert question.context[start : start + len(answer)] == answer
    assert len({question.id for question in asked}) == 200
    assert all(question.answers for question in islice(questions(1, 50), 50))
