"""China in the style of a flower: the picture of docs/style.md, and the distances in its table."""

import sys
from pathlib import Path

from sklearn.datasets import load_sample_images

import rosenblatt as rb
from rosenblatt.report.canvas import bare, new_figure, write_figure


def draw(path, networks=("small",), size=256, steps=150):
    china, flower = load_sample_images().images
    shown, found = [(china, "content"), (flower, "style")], {}
    for name in networks:
        model = rb.StyleTransfer(network=name, size=size, steps=steps, random_state=0, verbose=0).fit(flower, china)
        painted = model.transform(china)
        shown.append((painted, f"gatys, network={name!r}"))
        found.setdefault("content as it is", model.distances(china[::2, ::2], china[::2, ::2]))
        found[name] = model.distances(china, painted)
    figure = new_figure(3 * len(shown), 2.3)
    for place, (pixels, title) in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), place)
        axes.imshow(pixels)
        bare(axes, title)
    write_figure(figure, Path(path), dpi=70, overwrite=True)
    return found


if __name__ == "__main__":
    for name, row in draw("docs/img/style.png", networks=sys.argv[1:] or ("small",)).items():
        print(name, {key: round(value, 3) for key, value in row.items()})
