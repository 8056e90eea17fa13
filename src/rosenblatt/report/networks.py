"""Figures of what is inside a trained network: filters, maps, activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt._types import ArrayLike
from rosenblatt.errors import DataError, ParameterError, ShapeError
from rosenblatt.report.canvas import (
    BLUE,
    INK,
    VERMILION,
    bare,
    mosaic,
    new_figure,
    picture_shape,
    plain,
    reach_of,
    show_signed,
    word,
)
from rosenblatt.report.gradients import backpropagation
from rosenblatt.report.plots import learning_curves
from rosenblatt.report.seeing import seen

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

_MOST_TILES = 100


def _module(model: Any, who: str) -> nn.Module:
    """The network of an estimator, or the module itself."""
    from torch import nn

    if isinstance(model, nn.Module):
        return model
    if hasattr(model, "_check_fitted"):
        model._check_fitted(who)
        return model.module_
    raise ParameterError(f"{who}: got a {type(model).__name__}; expected a rosenblatt estimator or a torch nn.Module.")


# ----------------------------------------------------------------------------------------------------------- filters


def filters(model: Any, *, shape: tuple[int, ...] | None = None) -> Figure:
    """The first layer's weights as pictures: red adds to the unit's sum, blue takes from it.

    Args:
        model: A fitted estimator, or a torch module; its first convolution or dense layer is shown.
        shape: (H, W) or (H, W, C) of the pictures that a dense layer takes; None guesses a square.

    Raises:
        NotFittedError: Before ``fit``.
        ParameterError: Neither an estimator nor a module, or no such layer in it.
        ShapeError: The inputs of a dense layer are no pictures of ``shape``, or no square.
    """
    from torch import nn

    module = _module(model, "filters")
    first = next((part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Linear))), None)
    if first is None:
        raise ParameterError(f"filters: {type(module).__name__} has no convolution and no dense layer; expected one.")
    weight = first.weight.detach().float().cpu().numpy()
    if isinstance(first, nn.Conv2d):
        return _convolution_filters(weight)
    return _unit_pictures(weight, _shape_of(weight.shape[1], shape), _names_of(model, len(weight)))


def _convolution_filters(weight: np.ndarray) -> Figure:
    """One tile a filter; three colours are shown as such, any other number of channels side by side."""
    count, channels, height, width = weight.shape
    columns = min(count, 8)
    lines = math.ceil(count / columns)
    figure = new_figure(6.4, 0.7 + 6.2 * lines / columns / (1 if channels == 3 else channels))
    title = f"{count} filters of {height} x {width}" + (f", {channels} channels" if channels > 1 else "")
    axes = bare(figure.add_subplot(), title)
    if channels == 3:
        axes.imshow(_opaque(mosaic(_colours(weight.transpose(0, 2, 3, 1)), columns)), interpolation="nearest")
        return figure
    tiles = weight.transpose(0, 2, 1, 3).reshape(count, height, channels * width)
    _scale(figure, show_signed(axes, mosaic(tiles, columns)))
    return figure


def _colours(tiles: np.ndarray, reach: float | None = None) -> np.ndarray:
    """Weights around mid-grey, all on one scale, so that strong filters look strong."""
    return np.clip(0.5 + 0.5 * tiles / (reach or reach_of(tiles)), 0, 1)


def _opaque(whole: np.ndarray) -> np.ndarray:
    """Colours with a fourth channel that hides the gaps."""
    shown = ~np.isnan(whole[..., :1])
    return np.concatenate([np.nan_to_num(whole), shown.astype(float)], axis=-1)


def _scale(figure: Figure, image: Any) -> None:
    beyond = np.ma.compressed(np.abs(image.get_array())).max() > image.norm.vmax
    bar = figure.colorbar(
        image, ax=image.axes, shrink=0.8, aspect=30, pad=0.02, extend="both" if beyond else "neither", extendfrac=0.03
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, labelsize=8)


def _shape_of(size: int, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    found = picture_shape(size) if shape is None else (*shape, 1)[:3] if len(shape) == 2 else tuple(shape)
    if found is None:
        raise ShapeError(f"filters: {size} inputs are no square picture; expected pictures. Pass shape=(H, W).")
    if math.prod(found) != size:
        raise ShapeError(f"filters: shape={shape} makes {math.prod(found)} inputs; expected {size}, as the layer has.")
    return found


def _names_of(model: Any, units: int) -> list[str] | None:
    """Names of the units, where each stands for a class."""
    classes = getattr(model, "classes_", None)
    if classes is None or len(getattr(model, "coefs_", [0])) != 1:
        return None
    return [word(c) for c in classes] if len(classes) == units else [f"{word(classes[1])} against {word(classes[0])}"]


def _unit_pictures(weight: np.ndarray, shape: tuple[int, ...], names: list[str] | None) -> Figure:
    strength = np.linalg.norm(weight, axis=1)
    shown = np.sort(np.argsort(-strength, kind="stable")[:_MOST_TILES])
    tiles = weight[shown].reshape(len(shown), *shape)
    if shape[2] not in (1, 3):  # no colours: what all channels of a pixel say together
        tiles = tiles.sum(-1, keepdims=True)
    if names is not None:
        return _named_tiles(tiles, [names[unit] for unit in shown])
    columns = min(len(shown), 10)
    figure = new_figure(6.4, 0.4 + 5.8 * math.ceil(len(shown) / columns) / columns * shape[0] / shape[1])
    few = f" (the strongest {len(shown)})" if len(shown) < len(weight) else ""
    axes = bare(figure.add_subplot(), f"Weights into {len(weight)} units{few}")
    if shape[2] == 3:
        axes.imshow(_opaque(mosaic(_colours(tiles), columns)), interpolation="nearest")
    else:
        _scale(figure, show_signed(axes, mosaic(tiles[..., 0], columns)))
    return figure


def _named_tiles(tiles: np.ndarray, names: list[str]) -> Figure:
    """One small picture a class with its name above, all on one scale."""
    columns = min(len(tiles), 5 if len(tiles) <= 10 else 10)
    lines, reach = math.ceil(len(tiles) / columns), reach_of(tiles)
    figure = new_figure(max(3.0, 6.4 * columns / max(columns, 5)), 1.3 * lines * 6 / max(columns, 5))
    for place, (tile, name) in enumerate(zip(tiles, names, strict=True), 1):
        axes = bare(figure.add_subplot(lines, columns, place), name)
        if tile.shape[-1] == 3:
            axes.imshow(_colours(tile, reach), interpolation="nearest")
        else:
            show_signed(axes, tile[..., 0], reach)
    return figure


def _weight_table(model: Any) -> Figure:
    """Weights of threshold units on a table that is no picture: units by features."""
    weight = _module(model, "filters").linear.weight.detach().float().cpu().numpy()
    names = getattr(model, "feature_names_in_", None)
    names = [f"{i}" for i in range(weight.shape[1])] if names is None else [word(n) for n in names]
    figure = new_figure(7.0, 1.6 + 0.3 * min(len(weight), 20))
    axes = figure.add_subplot()
    image = show_signed(axes, weight)
    axes.set_aspect("auto")
    step = math.ceil(len(names) / 30)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=90, parse_math=False)
    axes.set_yticks(range(len(weight)), _names_of(model, len(weight)) or range(len(weight)), parse_math=False)
    axes.set_title("Weight of each feature", loc="left")
    plain(axes, frame=())
    _scale(figure, image)
    return figure


# ------------------------------------------------------------------------------------------------------ feature maps


def feature_maps(estimator: Any, picture: ArrayLike) -> Figure:
    """What each block of a convolutional network makes of one picture.

    Args:
        estimator: A fitted `CNNClassifier`.
        picture: One picture (H, W) or (H, W, C), of the size and kind of those in ``fit``.

    Raises:
        NotFittedError: Before ``fit``.
        ParameterError: Not a convolutional network.
        ShapeError, NonFiniteError, DataError: Not a picture like those of ``fit``.
    """
    blocks = _maps(estimator, np.asarray(picture))
    heights = [max(1.1, 5.6 * _tiling(maps)[0]) for maps in blocks.values()]
    figure = new_figure(6.4, sum(heights) + 0.35 * len(blocks))
    grid = figure.add_gridspec(len(blocks), 1, height_ratios=heights)
    for place, (name, maps) in enumerate(blocks.items()):
        count, height, width = maps.shape
        axes = bare(figure.add_subplot(grid[place, 0]), f"{name}: {count} maps of {height} x {width}")
        axes.imshow(mosaic(maps, _tiling(maps)[1]), cmap="viridis", interpolation="nearest")
    return figure


def _tiling(maps: np.ndarray) -> tuple[float, int]:
    """Height of the mosaic as a share of its width, and tiles a row."""
    columns = min(len(maps), 8 if len(maps) <= 16 else 16)
    return math.ceil(len(maps) / columns) * maps.shape[1] / (columns * maps.shape[2]), columns


def _maps(estimator: Any, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Maps (C, H, W) by the name of the block, in the order they are made."""
    import torch

    module = _module(estimator, "feature_maps")
    if not hasattr(estimator, "picture_shape_"):
        raise ParameterError(f"feature_maps: got a {type(estimator).__name__}; expected a fitted CNNClassifier.")
    batch = estimator._same_kind("feature_maps", picture[None])
    kept: dict[str, Tensor] = {}
    hooks = [part.register_forward_hook(_keeper(kept, name)) for name, part in _blocks(module).items()]
    try:
        with torch.no_grad():
            x = torch.from_numpy(batch).permute(0, 3, 1, 2).to(estimator.device_)
            module.eval()(estimator._preparation()(x))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: maps[0].float().cpu().numpy() for name, maps in kept.items() if maps[0, 0].numel() > 1}


def _keeper(kept: dict[str, Tensor], name: str) -> Any:
    def keep(_part: nn.Module, _inputs: Any, output: Tensor) -> None:
        kept[name] = output.detach().clone()  # the rectifier after it may work in place

    return keep


def _blocks(module: nn.Module) -> dict[str, nn.Module]:
    """The convolution blocks by name: blocks of `Quick`, layers C1 to S4 of `LeNet5`, else single convolutions."""
    from torch import nn

    from rosenblatt.models.lenet5 import LeNet5
    from rosenblatt.models.quick import Quick

    if isinstance(module, Quick):
        return {f"Block {number}": block for number, block in enumerate(module.features, 1)}
    if isinstance(module, LeNet5):
        layers = {"C1, sums": "C1", "S2": "S2", "C3, sums": "C3", "S4": "S4"}
        return {name: getattr(module, layer) for name, layer in layers.items()}
    found = {name: part for name, part in module.named_modules() if isinstance(part, nn.Conv2d)}
    if not found:
        raise ParameterError(f"feature_maps: {type(module).__name__} has no convolution; expected a CNNClassifier.")
    return found


# ------------------------------------------------------------------------------------------------------- activations


def dead_units(estimator: Any, X: ArrayLike) -> list[int]:
    """Units of each hidden layer whose output is the same for all samples, so that they say nothing.

    Args:
        estimator: A fitted `MLPClassifier` or `MLPRegressor`.
        X: (N, D), at least two samples.

    Raises:
        NotFittedError: Before ``fit``.
        ShapeError, NonFiniteError, DataError: X is not a table like that of ``fit``, or has one sample.
    """
    return [int(_is_dead(values).sum()) for values in _hidden(estimator, X)]


def _is_dead(values: np.ndarray) -> np.ndarray:
    return np.ptp(values, axis=0) == 0


def _hidden(estimator: Any, X: ArrayLike) -> list[np.ndarray]:
    """Outputs (N, units) of the hidden layers."""
    import torch

    module = _module(estimator, "activations")
    if not hasattr(estimator, "coefs_"):
        raise ParameterError(
            f"activations: got a {type(estimator).__name__}; expected an MLPClassifier or MLPRegressor."
        )
    estimator.predict(X)  # its own checks of X, with its own messages
    X = np.asarray(X.toarray() if hasattr(X, "toarray") else X)
    if len(X) < 2:
        raise DataError(
            "activations: X has one sample; expected two or more, since a dead unit is one that never varies."
        )
    kept, x = [], torch.as_tensor(X.astype(estimator.coefs_[0].dtype))
    with torch.no_grad():
        for layer in list(module.layers)[:-1]:
            x = module.activation(layer(x))
            kept.append(x.numpy().copy())
    return kept


def activations(estimator: Any, X: ArrayLike) -> Figure:
    """How often the units of each hidden layer give which output, and how many are dead.

    Args:
        estimator: A fitted `MLPClassifier` or `MLPRegressor`.
        X: (N, D), at least two samples.

    Raises:
        NotFittedError: Before ``fit``.
        ShapeError, NonFiniteError, DataError: X is not a table like that of ``fit``, or has one sample.
    """
    layers = _hidden(estimator, X)
    figure = new_figure(6.4, 0.4 + 1.9 * len(layers))
    for place, values in enumerate(layers, 1):
        axes = figure.add_subplot(len(layers), 1, place)
        dead = int(_is_dead(values).sum())
        axes.hist(values.ravel(), bins=60, color=VERMILION if dead == values.shape[1] else BLUE)
        axes.set_ylabel("outputs")
        plain(axes, grid="y")
        title = (
            f"Hidden layer {place}: {values.shape[1]} units, {dead} dead (same output for all {len(values)} samples)"
        )
        axes.set_title(title, loc="left", color=INK)
    return figure


# ----------------------------------------------------------------------------------------------------------- inspect


def inspect_pictures(estimator: Any, X: ArrayLike | None = None, y: ArrayLike | None = None) -> dict[str, Figure]:
    """All figures of the inside of a fitted estimator.

    Args:
        estimator: A fitted `CNNClassifier`, `MLPClassifier`, `MLPRegressor` or `Perceptron`.
        X: Inputs of the kind that it was trained on; None leaves out what needs them.
        y: True labels or targets of X, for a `CNNClassifier` or a multilayer perceptron; None leaves out what needs them.

    Returns:
        By name: "learning_curves" where epochs were recorded, and for a `CNNClassifier` "filters", "receptive_fields",
        "class_pictures", and with X "feature_maps" (of the first picture), "saliency", with y "confusion" and
        "worst_mistakes"; for the multilayer perceptrons "weights", where the inputs are square pictures, and
        "activations", and with y "gradient_flow" and, where no layer is wider than 24, "paths"; for both "gradient_norms"
        where epochs were recorded; for a `Perceptron` "weights"; for a `Forecaster` (X is a series)
        "forecast" and "gradient_through_time"; for autoencoders with X "code_map" (coloured by y) and "reconstructions", for
        variational ones of pictures "samples" and "traversal", and for codes of two numbers "code_grid"; for a
        `LanguageModel` (X is a text) "gradient_through_time"; for a `Translator` (X are sentences) "attention_1" to
        "attention_6"; for a `GAN` "samples", "game" and with X "nearest"; for a `SemanticGAN` "game"
        and, where X are label maps, "renderings" (beside photographs y) and "styles"; for a `FaceSwap` with X (aligned
        faces) "drawn"; for an `RNNClassifier` nothing else.

    Raises:
        NotFittedError: Before ``fit``.
        ParameterError: Another kind of estimator.
        ShapeError, NonFiniteError, DataError: X is not like the data of ``fit``.
    """
    _module(estimator, "inspect")
    for name in (kind.__name__ for kind in type(estimator).__mro__):
        if name in _OWN:
            return _OWN[name](estimator, X, y)
    curves = _curves(estimator)
    if hasattr(estimator, "picture_shape_"):
        shown = {"filters": filters(estimator)}
        if X is not None:
            X = estimator._same_kind("inspect", X)
            shown["feature_maps"] = feature_maps(estimator, X[0])
        return shown | seen(estimator, X, y) | backpropagation(estimator, None, None) | curves
    if hasattr(estimator, "coefs_"):
        weights = {"weights": filters(estimator)} if picture_shape(estimator.n_features_in_) else {}
        hidden = X is not None and len(estimator.coefs_) > 1
        shown = {"activations": activations(estimator, X)} if hidden else {}
        return weights | shown | backpropagation(estimator, X, y) | curves
    if hasattr(estimator, "coef_"):
        if X is not None:
            estimator.predict(X)  # its own checks of X
        square = picture_shape(estimator.n_features_in_)
        return {"weights": filters(estimator) if square else _weight_table(estimator)} | curves
    raise ParameterError(f"inspect: there are no figures for a {type(estimator).__name__} yet.")


def _curves(estimator: Any) -> dict[str, Figure]:
    """The learning curves, where epochs were recorded."""
    rows = getattr(estimator, "history_", None)
    return {"learning_curves": learning_curves(rows)} if rows else {}


def _of_forecaster(estimator: Any, X: Any, y: Any) -> dict[str, Figure]:
    from rosenblatt.report.forecasts import forecast, gradient_through_time

    drawn = {"forecast": forecast(estimator, X), "gradient_through_time": gradient_through_time(estimator)}
    return drawn | {"learning_curves": learning_curves(estimator.history_)}


def _of_coder(estimator: Any, X: Any, y: Any) -> dict[str, Figure]:
    from rosenblatt.report.codes import coder_pictures

    return coder_pictures(estimator, X, y) | _curves(estimator)


def _of_translator(estimator: Any, X: Any, y: Any) -> dict[str, Figure]:
    from rosenblatt.report.translation import attention_pictures

    return (attention_pictures(estimator, X) if X is not None else {}) | _curves(estimator)


def _of_language_model(estimator: Any, X: Any, y: Any) -> dict[str, Figure]:
    from rosenblatt.report.recurrent import gradient_through_time

    return {"gradient_through_time": gradient_through_time(estimator, X)} | _curves(estimator)


def _of_style(estimator: Any, X: Any, y: Any) -> dict[str, Figure]:
    from rosenblatt.report.style import style_pictures

    return style_pictures(estimator, X) | _curves(estimator)


def _of_gan(estimator: Any, X: Any, y: Any) -> dict[str, Figure]:
    from rosenblatt.report.samples import game_figures

    return game_figures(estimator, X)


def _of_semantic(estimator: Any, X: Any, y: Any) -> dict[str, Figure]:
    from rosenblatt.report.label_maps import semantic_figures

    return semantic_figures(estimator, X, y)


def _of_face_swap(estimator: Any, X: Any, y: Any) -> dict[str, Figure]:
    from rosenblatt.report.samples import swap_figures

    return (swap_figures(estimator, X) if X is not None else {}) | _curves(estimator)


def _of_composer(estimator: Any, X: Any, y: Any) -> dict[str, Figure]:
    from rosenblatt.report.music import composer_figures

    return composer_figures(estimator, X)


_OWN: dict[str, Callable[[Any, Any, Any], dict[str, Figure]]] = {
    "Forecaster": _of_forecaster,
    "Autoencoder": _of_coder,
    "VariationalAutoencoder": _of_coder,
    "Translator": _of_translator,
    "LanguageModel": _of_language_model,
    "RNNClassifier": lambda estimator, X, y: _curves(estimator),
    "StyleTransfer": _of_style,
    "GAN": _of_gan,
    "SemanticGAN": _of_semantic,
    "FaceSwap": _of_face_swap,
    "Composer": _of_composer,
}
"""Systems with figures of their own; all others show their weights. A new system adds a row."""
