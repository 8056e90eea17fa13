"""The example of the page on attacks with texts: reviews that one or two exchanged words turn over.

Run: python docs_src/attacked_texts.py
"""

import numpy as np

import rosenblatt as rb
from rosenblatt.attacks import HotFlip

WORDS = {
    "good": ["good", "great", "fine", "lovely", "superb", "happy"],
    "bad": ["bad", "awful", "poor", "dull", "boring", "sad"],
}
PLAIN = ["the", "film", "was", "a", "story", "with", "actors", "and", "music", "on", "screen"]
SYNONYMS = {"film": ["story"], "story": ["film"], "actors": ["music"], "music": ["actors"], "the": ["a"], "a": ["the"]}


def reviews(count, seed=0):
    """Sentences with two or three words of praise, or of blame."""
    source, texts, labels = np.random.default_rng(seed), [], []
    for _ in range(count):
        label = str(source.choice(["good", "bad"]))
        words = [str(word) for word in source.choice(PLAIN, source.integers(6, 12))]
        for _ in range(source.integers(2, 4)):
            words.insert(int(source.integers(len(words))), str(source.choice(WORDS[label])))
        texts.append(" ".join(words).capitalize() + ".")
        labels.append(label)
    return texts, np.array(labels)


def attack():
    """Texts, and attacks on them: any words, words drawn at random, and only such as mean the same."""
    texts, labels = reviews(400)
    model = rb.RNNClassifier(units="words", hidden_size=16, epochs=6, learning_rate=0.02, random_state=0, verbose=0)
    model.fit(texts[:300], labels[:300])
    ways = {"any word": {}, "at random": {"gradient": False}, "synonyms": {"allowed": SYNONYMS}}
    return texts[300:], {
        name: HotFlip(substitutions=2, **way)(model, texts[300:], labels[300:]) for name, way in ways.items()
    }


if __name__ == "__main__":
    texts, found = attack()
    for name, result in found.items():
        print(name, result)
    for row in np.flatnonzero(found["any word"].success)[:5]:
        print(f"  {texts[row]}\n  {found['any word'].adversarial[row]}\n")
