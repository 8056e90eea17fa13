"""Two persons that never lived, drawn from circles, and their faces swapped: the picture of docs/face_swap.md."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import rosenblatt as rb
from rosenblatt.data.face_alignment import TEMPLATE
from rosenblatt.data.face_detection import Face, align_faces

PERSONS = {
    "round": {"skin": "#e8b48c", "hair": "#3b2415", "iris": "#2e6b3a", "lips": "#b4443c", "nose": "#d49c74", "brow": 7},
    "pale": {"skin": "#f3dccb", "hair": "#c9952f", "iris": "#2f5fa8", "lips": "#d0667a", "nose": "#e3c4b2", "brow": 3},
}


def person(name, mouth, look, turn, centre=(160, 130), side=150, size=(320, 260)):
    """A picture, and the face in it: mouth open from 0 to 1, look from -1 to 1, turned by degrees."""
    p, ground = PERSONS[name], Image.new("RGB", size, "#7a8a94" if name == "round" else "#b9b1a4")
    image = Image.new("RGBA", (4 * side, 4 * side))
    draw, s = ImageDraw.Draw(image), side / 100

    def oval(x, y, w, h, fill):
        x, y = side + 2 * side * x + side * 0, side + 2 * side * y
        draw.ellipse([x - w * 2 * s, y - h * 2 * s, x + w * 2 * s, y + h * 2 * s], fill=fill)

    oval(0.5, 0.44, 44, 50, p["hair"])
    oval(0.5, 0.54, 36, 44, p["skin"])
    for x in (0.34, 0.66):
        oval(x, 0.40, 9, 6, "white")
        oval(x + 0.03 * look, 0.40, 4.5, 4.5, p["iris"])
        oval(x + 0.03 * look, 0.40, 2, 2, "black")
        oval(x, 0.29, 11, p["brow"] / 2, p["hair"])
    oval(0.5, 0.57, 4, 6, p["nose"])
    oval(0.5, 0.74, 15, 4 + 7 * mouth, p["lips"])
    oval(0.5, 0.74, 12, 0.5 + 6 * mouth, "#401414")
    image = image.rotate(-turn, resample=Image.Resampling.BICUBIC).resize(
        (2 * side, 2 * side), Image.Resampling.LANCZOS
    )
    ground.paste(image, (round(centre[0] - side), round(centre[1] - side)), image)
    angle = np.deg2rad(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(ground), Face((TEMPLATE - 0.5) * side @ rotation.T + centre - 0.5)


def clip(name, count, seed):
    """Pictures of a person, and a detector that knows where the faces are, as they were drawn."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        made.append(person(name, rng.uniform(0, 1), rng.uniform(-1, 1), rng.normal(0, 6)))
    known = {picture.tobytes(): face for picture, face in made}
    return [picture for picture, _ in made], lambda frame: [known[frame.tobytes()]]


def draw(path, epochs=60):
    faces = []
    for i, name in enumerate(PERSONS):
        pictures, detector = clip(name, 60, seed=i)
        faces.append(align_faces(pictures, size=64, detector=detector)[0])
    model = rb.FaceSwap(width=16, code_size=8, epochs=epochs, learning_rate=2e-3, random_state=0, verbose=1)
    model.fit(*faces, names=list(PERSONS), consent=True)  # nobody is shown
    columns = []
    for source, to in (("round", "pale"), ("pale", "round")):
        pictures, detector = clip(source, 2, seed=7)
        columns += [np.concatenate([x, model.swap(x, to, detector=detector)]) for x in pictures]
    Image.fromarray(np.concatenate(columns, 1)).save(Path(path))
    return model.score(*faces), model


if __name__ == "__main__":
    print(draw("docs/img/face_swap.png", *map(int, sys.argv[1:]))[0])
