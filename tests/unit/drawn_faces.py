"""Faces that the tests draw, and a detector that finds them by the colours of their parts."""

import numpy as np

from rosenblatt.data.face_detection import Face

SKIN = {"A": (236, 200, 170), "B": (120, 80, 50)}
PARTS = [(20, 20, 250), (20, 250, 20), (250, 250, 20), (250, 20, 250), (20, 250, 250)]
SPOTS = np.array([[0.34, 0.40], [0.66, 0.40], [0.50, 0.58], [0.37, 0.74], [0.63, 0.74]])


def face(frame, centre, side, person="A", angle=0.0, mouth=0.05):
    """Draw a face into a frame (in place): an oval, a mouth that is open by ``mouth``, and five coloured spots."""
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(float)
    cos, sin = np.cos(angle), np.sin(angle)
    u = (cos * (x - centre[0]) + sin * (y - centre[1])) / side + 0.5
    v = (-sin * (x - centre[0]) + cos * (y - centre[1])) / side + 0.5
    frame[np.hypot((u - 0.5) / 0.36, (v - 0.54) / 0.44) < 1] = SKIN[person]
    frame[np.hypot((u - 0.5) / 0.10, (v - 0.74) / mouth) < 1] = (90, 10, 10)
    if person == "B":
        frame[(np.abs(v - 0.24) < 0.05) & (np.abs(u - 0.5) < 0.25)] = (30, 30, 30)
    for spot, colour in zip(SPOTS, PARTS, strict=True):
        frame[np.hypot(u - spot[0], v - spot[1]) < 0.045] = colour
    return frame


def points(centre, side, angle=0.0):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ((SPOTS - 0.5) * side) @ turn.T + np.asarray(centre, dtype=float)


def find(frame):
    """Detector: the middle of each spot, of as many faces as there are spots apart from each other along x."""
    found = []
    for part in PARTS:
        near = np.abs(frame.astype(int) - part).max(2) < 40
        rows, columns = np.nonzero(near)
        if len(rows) < 4:
            return []
        order = np.argsort(columns)
        cuts = np.nonzero(np.diff(columns[order]) > 12)[0] + 1
        found.append([(columns[g].mean(), rows[g].mean()) for g in np.split(order, cuts)])
    if len({len(each) for each in found}) > 1:
        return []
    return [Face(np.array(group)) for group in zip(*found, strict=True)]


def clip(person, count, side=32, seed=0):
    """Aligned faces (N, side, side, 3) with mouths that open and close, and small turns."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        ground = np.full((side, side, 3), 90 if person == "A" else 160, np.uint8)
        centre = (side - 1) / 2 + rng.normal(0, 0.02 * side, 2)
        frames.append(face(ground, centre, side, person, rng.normal(0, 0.05), rng.uniform(0.02, 0.12)))
    return np.stack(frames)


def photo(centre=(70.0, 60.0), side=60.0, person="A", angle=0.3, size=(120, 150), mouth=0.05):
    ground = np.linspace(60, 190, size[1]).astype(np.uint8)[None, :, None].repeat(size[0], 0).repeat(3, 2)
    return face(np.ascontiguousarray(ground), centre, side, person, angle, mouth)
