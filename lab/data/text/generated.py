"""English of a small grammar, made without files: each text is a function of (seed, index), so nothing is stored.

A text has a topic, which decides its nouns, verbs and places, and keeps it through all of its sentences: a model can
learn words from their neighbours, and whether two sentences belong together. Labelled texts praise or blame; questions
ask for a person, a place, a number or a thing of a paragraph.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.checking import check_range

NAMES = ("Anna", "Boris", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas", "Karin", "Leo")
COLOURS = ("red", "blue", "green", "white", "black", "yellow", "grey", "brown")
SIZES = ("small", "large", "old", "new", "heavy", "light", "long", "short")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PRAISE = ("wonderful", "excellent", "charming", "clever", "delightful", "brilliant", "touching", "fresh")
BLAME = ("terrible", "boring", "clumsy", "stupid", "annoying", "empty", "tedious", "stale")
WORKS = ("film", "story", "play", "song", "book", "picture", "scene", "ending")
DEGREES = ("very", "really", "quite", "truly", "rather")


@dataclass(frozen=True)
class Topic:
    """The words of a topic."""

    name: str
    people: tuple[str, ...]
    things: tuple[str, ...]
    verbs: tuple[str, ...]
    places: tuple[str, ...]


TOPICS = (
    Topic(
        "farm",
        ("farmer", "shepherd", "gardener"),
        ("cow", "goat", "apple", "field", "plough", "horse"),
        ("fed", "sold", "washed", "counted", "planted"),
        ("barn", "meadow", "orchard", "stable"),
    ),
    Topic(
        "sea",
        ("sailor", "captain", "fisher"),
        ("boat", "net", "crab", "sail", "anchor", "wave"),
        ("caught", "steered", "mended", "pulled", "followed"),
        ("harbour", "cave", "bay", "lighthouse"),
    ),
    Topic(
        "school",
        ("teacher", "pupil", "writer"),
        ("book", "letter", "lesson", "map", "pen", "poem"),
        ("read", "wrote", "copied", "explained", "learned"),
        ("library", "classroom", "hall", "yard"),
    ),
    Topic(
        "kitchen",
        ("cook", "baker", "waiter"),
        ("bread", "soup", "cake", "spoon", "plate", "oven"),
        ("baked", "tasted", "served", "cut", "warmed"),
        ("kitchen", "bakery", "cellar", "inn"),
    ),
    Topic(
        "rail",
        ("driver", "guard", "engineer"),
        ("train", "ticket", "engine", "wheel", "signal", "bridge"),
        ("stopped", "repaired", "checked", "built", "missed"),
        ("station", "tunnel", "workshop", "depot"),
    ),
)


@dataclass(frozen=True)
class Labelled:
    """A text with the number of its class."""

    text: str
    label: int


@dataclass(frozen=True)
class GeneratedQuestion:
    """A question about a paragraph, as SQuAD has them.

    Attributes:
        id: a name of its own.
        title: what the paragraph is about; paragraphs of one title have one topic.
        context: the paragraph.
        question: the question.
        answers: right answers as they stand in the paragraph; none if it has no answer.
        starts: the first character of each answer in the paragraph.
    """

    id: str
    title: str
    context: str
    question: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]


def documents(seed: int, count: int, sentences: int = 8) -> Iterator[list[str]]:
    """Yield documents, each a list of sentences on one topic.

    Args:
        seed: with the number of a document it decides its words.
        count: the number of documents.
        sentences: the average number of sentences, of half to one and a half as many.
    """
    check_range("sentences", sentences, least=2)
    for index in range(count):
        yield document(seed, index, sentences)


def document(seed: int, index: int, sentences: int = 8) -> list[str]:
    """Return one of ``documents``."""
    source = _source("documents", seed, index)
    topic, hero = source.choice(TOPICS), source.choice(NAMES)
    length = source.randint(sentences - sentences // 2, sentences + sentences // 2)
    return [_sentence(source, topic, hero) for _ in range(length)]


def labelled(seed: int, count: int, classes: int = 2) -> Iterator[Labelled]:
    """Yield texts with classes. Two classes: 0 blames, 1 praises, also by negation; more: the text's topic.

    Args:
        seed: with the number of a text it decides its words.
        count: the number of texts.
        classes: 2, or 3 to 5 for topics.
    """
    check_range("classes", classes, least=2, most=len(TOPICS))
    for index in range(count):
        source = _source(f"labelled {classes}", seed, index)
        label = source.randrange(classes)
        if classes > 2:
            topic, hero = TOPICS[label], source.choice(NAMES)
            yield Labelled(" ".join(_sentence(source, topic, hero) for _ in range(source.randint(1, 3))), label)
        else:
            yield Labelled(" ".join(_opinion(source, label == 1) for _ in range(source.randint(1, 2))), label)


def questions(seed: int, count: int, unanswerable: float = 0.0, fewest: int = 3) -> Iterator[GeneratedQuestion]:
    """Yield questions about paragraphs of up to three facts.

    Args:
        seed: with the number of a question it decides its words.
        count: the number of questions.
        unanswerable: the share of questions that ask for what the paragraph does not say.
        fewest: the fewest facts of a paragraph, 1 to 3. Of one fact the kind of question alone tells the answer.
    """
    check_range("unanswerable", unanswerable, least=0, most=1)
    check_range("fewest", fewest, least=1, most=3)
    for index in range(count):
        yield _question(seed, index, unanswerable, fewest)


def _source(what: str, seed: int, index: int) -> random.Random:
    return random.Random(f"{what} {seed} {index}")  # a string is hashed by SHA-512: the same everywhere


def _sentence(source: random.Random, topic: Topic, hero: str) -> str:
    person, thing, other = source.choice(topic.people), source.choice(topic.things), source.choice(topic.things)
    verb, place = source.choice(topic.verbs), source.choice(topic.places)
    adjective = source.choice(COLOURS if source.random() < 0.5 else SIZES)
    forms: tuple[Callable[[], str], ...] = (
        lambda: f"The {person} {verb} the {adjective} {thing} in the {place}.",
        lambda: f"{hero} {verb} {source.choice(NUMBERS)} {thing}s near the {place}.",
        lambda: f"On {source.choice(DAYS)} the {person} {verb} {_one(thing)} and {_one(other)}.",
        lambda: f"In the {place}, {hero} saw the {adjective} {thing} of the {person}.",
        lambda: f"The {thing} was {adjective}, so {hero} {verb} it.",
    )
    return source.choice(forms)()


def _one(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def _opinion(source: random.Random, good: bool) -> str:
    work, degree = source.choice(WORKS), source.choice(DEGREES)
    negated = source.random() < 0.25
    word = source.choice(PRAISE if good != negated else BLAME)
    other = source.choice(PRAISE if good else BLAME)
    is_word = f"was not {word}" if negated else f"was {degree} {word}"
    forms = (
        f"The {work} {is_word}.",
        f"{source.choice(NAMES)} said that the {work} {is_word}, and {other} too.",
        f"I saw the {work} on {source.choice(DAYS)} and it {is_word}.",
        f"What a {other} {work}: it {is_word}.",
    )
    return source.choice(forms)


def _question(seed: int, index: int, unanswerable: float, fewest: int) -> GeneratedQuestion:
    source = _source("questions", seed, index)
    topic = source.choice(TOPICS)
    names = source.sample(NAMES, 4)
    told, absent = names[:3], names[3]
    things, places = source.sample(topic.things, 3), source.sample(topic.places, 3)
    numbers, verbs = source.sample(NUMBERS, 3), [source.choice(topic.verbs) for _ in range(3)]
    facts = [
        f"{name} {verb} {number} {thing}s in the {place}."
        for name, verb, number, thing, place in zip(told, verbs, numbers, things, places, strict=True)
    ]
    count = fewest if fewest == 3 else source.randint(fewest, 3)  # nothing is drawn where there is no choice
    context, asked = " ".join(facts[:count]), source.randrange(count)
    name, verb, number, thing, place = told[asked], verbs[asked], numbers[asked], things[asked], places[asked]
    possible = source.random() >= unanswerable
    who = name if possible else absent
    kinds = [
        (f"How many {thing}s were in the {place}?", number),
        (f"Where was {who}?", place),
        (f"What did {who} have?", f"{thing}s"),
        (f"Who {verb} the {thing}s in the {place}?", name),
    ]
    question, answer = source.choice(kinds if possible else kinds[1:3])
    sentence = context.index(f"{name} ")
    start = context.index(answer, sentence)
    return GeneratedQuestion(
        f"{seed}-{index}",
        topic.name,
        context,
        question,
        (answer,) if possible else (),
        (start,) if possible else (),
    )
