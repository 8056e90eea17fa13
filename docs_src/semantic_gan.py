"""Landscapes rendered from painted maps by a SemanticGAN: the picture of docs/semantic_gan.md.

The "photographs" are drawn here from random maps, each class with a texture of its own and a light that all classes of a
picture share, so that there is a style to be learned.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import rosenblatt as rb
from rosenblatt.data.label_maps import paint
from rosenblatt.report.label_maps import colour_of

SIDE, CLASSES = 32, ("sky", "mountain", "meadow", "lake", "house")
COLOURS = np.uint8([[120, 180, 240], [110, 100, 100], [90, 160, 70], [30, 80, 160], [190, 70, 50]])


def landscapes(count, seed=0):
    """Label maps (N, H, W) and photographs (N, H, W, 3)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    labels, photos = [], []
    for _ in range(count):
        ridge = 0.35 + 0.12 * np.sin(rng.uniform(3, 9) * columns + rng.uniform(0, 6)) + 0.05 * np.sin(20 * columns)
        one = np.where(rows < ridge, 0, np.where(rows < rng.uniform(0.5, 0.65), 1, 2))
        lake = ((rows - rng.uniform(0.75, 0.9)) / 0.14) ** 2 + ((columns - rng.uniform(0.2, 0.8)) / 0.3) ** 2
        one[(lake < 1) & (one == 2)] = 3
        top, left = rng.integers(SIDE // 2, SIDE - 8), rng.integers(0, SIDE - 8)
        one = paint(one, 4, box=(top, left, *rng.integers(5, 9, 2)))
        labels.append(one)
        photos.append(photograph(one, rng, rows))
    return np.stack(labels), np.stack(photos)


def photograph(labels, rng, rows):
    """Colours with a texture by class, under morning, noon or evening light."""
    light = np.array([[1.15, 0.9, 0.7], [1, 1, 1], [0.55, 0.6, 0.85]])[rng.integers(3)] * rng.uniform(0.85, 1.1)
    noise = rng.normal(size=(SIDE, SIDE))
    across = (noise + np.roll(noise, 1, 1) + np.roll(noise, 2, 1)) / 2
    textures = np.stack([60 * rows, 25 * noise, 18 * noise, 12 * across, 30 * (np.arange(SIDE) % 3 == 0) + 0 * rows])
    texture = np.take_along_axis(textures, labels[None], 0)[0]
    return ((COLOURS[labels] + texture[..., None]) * light).clip(0, 255).astype(np.uint8)


def draw(path, epochs=16, count=120):
    labels, photos = landscapes(count)
    model = rb.SemanticGAN(
        width=8, code_size=8, epochs=epochs, perceptual=None, augment="flip", random_state=0, verbose=1
    ).fit(labels, photos)
    maps, real = landscapes(12, seed=1)
    edited = paint(maps[:1], CLASSES.index("lake"), box=(20, 2, 10, 28))
    edited = paint(edited, CLASSES.index("house"), box=(12, 20, 10, 8))
    shown = np.concatenate([maps[:3], edited])
    rows = [colour_of(shown, COLOURS), model.transform(shown, random_state=0)]
    rows += [model.transform(shown, style=real[n]) for n in (4, 5)]
    whole = np.concatenate([np.concatenate(list(row), 1) for row in rows])
    Image.fromarray(whole).resize((whole.shape[1] * 4, whole.shape[0] * 4), Image.NEAREST).save(Path(path))
    return model.judge(
        maps, real, by="random", split="new landscapes", segmenter=model.segmenter_of(labels, photos, epochs=10)
    )


if __name__ == "__main__":
    print(draw("docs/img/semantic_gan.png", *map(int, sys.argv[1:])))
