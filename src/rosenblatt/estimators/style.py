"""`StyleTransfer`: the content of one picture in the style of another."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt import _validate
from rosenblatt._validate import NONE, SEED, Choice, Number, Of
from rosenblatt.data.photo import Photo, is_one_picture, read_photo
from rosenblatt.data.weights import available, blank, pretrained
from rosenblatt.errors import DataError, ParameterError, ShapeError
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.losses.style import channel_statistics, content_distance, style_distance
from rosenblatt.models.adain import AdaIN, adain, blend
from rosenblatt.models.johnson import Johnson, held_statistics
from rosenblatt.models.perceptual import Perceptual, Small, Stylist
from rosenblatt.models.tiles import by_tiles, padded, sampled
from rosenblatt.train.follow import follow, progress
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import autocast, choose_device, choose_precision
from rosenblatt.train.seeds import PrivateRandom, draw_seed
from rosenblatt.train.style import (
    Anchor,
    Look,
    paint,
    stillness,
    style_targets,
    train_adain,
    train_johnson,
    train_small,
)

METHODS = ("gatys", "johnson", "adain")
NETWORKS = ("auto", "vgg19", "squeezenet", "small")
COLORS = ("style", "luminance", "match")
_STEPS = {"gatys": 300, "johnson": 2000, "adain": 4000}
_WEIGHTS = {"gatys": 10.0, "johnson": 10.0, "adain": 3.0}
_RATES = {"johnson": 1e-3, "adain": 1e-3}
_LAST = {"vgg19": "relu5_1", "squeezenet": "fire6"}
_LEAST, _MULTIPLE, _HALO = 32, 8, 96


class StyleTransfer(Estimator):
    """Paint the content of one picture in the style of another.

    "gatys" optimises the picture itself: slow, best quality, any style, nothing to train. "johnson" trains a network for
    one style on photographs of yours and then paints in one pass. "adain" trains a decoder once and then paints in any
    style, mixtures included, in one pass. All three judge a picture by a perceptual network: content is what its deeper
    layers respond, style is which of its filters respond together (their Gram matrices)::

        loss = content distance + style_weight * style distance

    Args:
        method: "gatys" (Gatys et al. 2016), "johnson" (Johnson et al. 2016) or "adain" (Huang & Belongie 2017).
        network: Perceptual network: "vgg19" or "squeezenet" with pretrained weights (downloaded where they are not here),
            "small" (trained in ``fit`` on your own pictures), or "auto": the first whose weights are on this machine.
        style_weight: Weight of the style beside 1 of the content, both relative; None takes 10, for "adain" 3, and a
            fifth of it with the "small" network.
        steps: Steps of "gatys", training steps of the others; None takes 300, 2000 or 4000.
        size: Longest side in pixels at which "gatys" paints and styles are looked at; None keeps theirs. Networks learn on
            crops of so many pixels, at most 256.
        learning_rate: None takes 1 (L-BFGS), 0.02 (Adam on pixels) or 1e-3 (networks).
        random_state: Seed of weights, crops and order.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line a step.
        plan: Everything else. Plan(optimizer="adam") paints with Adam instead of L-BFGS in "gatys".

    Attributes:
        styles_: The style pictures, uint8 (H, W, 3).
        style_weights_: Their weights.
        network_: Name of the perceptual network in use.
        network_note_: Where its weights come from, in words.
        module_: Perceptual network and, where one was trained, the network that paints.
        history_: The training record; for "gatys" that of the picture painted last.

    Reference:
        Gatys, Ecker & Bethge 2016, CVPR; Johnson, Alahi & Fei-Fei 2016, arXiv:1603.08155; Huang & Belongie 2017,
        arXiv:1703.06868; colours and regions: Gatys et al. 2017, arXiv:1611.07865.

    Example:
        >>> from sklearn.datasets import load_sample_images
        >>> china, flower = (picture[::8, ::8] for picture in load_sample_images().images)
        >>> model = StyleTransfer(network="small", steps=5, random_state=0, verbose=0).fit(flower)
        >>> painted = model.transform(china)
        >>> painted.shape, painted.dtype
        ((54, 80, 3), dtype('uint8'))
        >>> model.distances(china, painted)["style"] < model.distances(china, china)["style"]
        True
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "method": Choice(METHODS),
        "network": Choice(NETWORKS),
        "style_weight": (Number(0), NONE),
        "steps": (Number(1, integer=True), NONE),
        "size": (Number(16, integer=True), NONE),
        "learning_rate": (Number(0, open_low=True), NONE),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }

    def __init__(
        self,
        *,
        method: str = "gatys",
        network: str = "auto",
        style_weight: float | None = None,
        steps: int | None = None,
        size: int | None = 512,
        learning_rate: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.method = method
        self.network = network
        self.style_weight = style_weight
        self.steps = steps
        self.size = size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(self, style: Any, photos: Any = None, *, weights: Sequence[float] | None = None) -> StyleTransfer:
        """Learn a style.

        Args:
            style: The style picture, or several: paths, Pillow images, or arrays H W 3 (uint8, or floats from 0 to 1).
            photos: Pictures that "johnson" and "adain" learn on: a folder, or pictures as above. "gatys" needs none; the
                "small" network takes them in where they are given.
            weights: Weight of each style, or None for equal ones.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            PictureError, ShapeError, NonFiniteError, DataError: A picture cannot be used, or photos are missing.
            FetchError: The weights of the network that was asked for are not here and were not downloaded.
            DivergedError: Training turned non-finite; the weights of the last good epoch are kept.
        """
        self._check_parameters()
        who = "StyleTransfer.fit"
        plan = (self.plan or Plan()).over(STANDARD)
        if plan.early_stopping:
            raise ParameterError(f"{who}: Plan(early_stopping=True), but nothing is held out here; expected False.")
        if self.method == "gatys" and (self.plan or Plan()).optimizer not in (None, "adam"):
            raise ParameterError(f"{who}: optimizer={plan.optimizer!r} for pixels; expected None (L-BFGS) or 'adam'.")
        looked = [photo.resized(self.size) for photo in _pictures(style, who)]
        learned = [photo.resized(1024) for photo in _folder_or_pictures(photos, who)] if photos is not None else []
        if self.method != "gatys" and not learned:
            raise DataError(
                f"{who}: method={self.method!r} learns on photographs and got none; expected fit(style, photos) with a "
                "folder or a list of pictures. method='gatys' needs none."
            )
        self.styles_ = [photo.pixels for photo in looked]
        self.style_weights_ = _weights(who, weights, len(looked))
        seed = draw_seed(self.random_state)
        device = choose_device(self.device)
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        features = self._perceptual([*looked, *learned], seed, device)
        self.module_ = self._place(Stylist(features, self._painter(features, seed)), device)
        self.history_ = []
        if self.method != "gatys":
            self._train(plan, looked, learned, seed)
        return self

    def _perceptual(self, pictures: list[Photo], seed: int, device: torch.device) -> Perceptual:
        """The network that judges pictures; says in ``network_note_`` where its weights come from."""
        name = self.network
        if name == "auto":
            name = next((known for known in ("vgg19", "squeezenet") if available(known)), "small")
        self.network_, self.network_note_ = name, "pretrained on ImageNet"
        if name != "small":
            return pretrained(name, last=_LAST[name])
        self.network_note_ = "trained on your own pictures, no pretrained weights"
        if self.network == "auto":
            warnings.warn(
                "no pretrained weights of VGG-19 or SqueezeNet are on this machine: a small network was trained on your own "
                "pictures instead, and results are rougher. network='vgg19' downloads the weights (575 MB); network='small' "
                "is this choice without the warning.",
                UserWarning,
                stacklevel=3,
            )
        self.n_pictures_ = len(pictures)
        return train_small(pictures, seed=seed, device=device)

    def _painter(self, features: Perceptual, seed: int) -> nn.Module | None:
        if self.method == "gatys":
            return None
        with PrivateRandom(seed):
            return Johnson() if self.method == "johnson" else AdaIN(features)

    def _train(self, plan: Plan, styles: list[Photo], photos: list[Photo], seed: int) -> None:
        look, painter = self._look(), self.module_.painter
        common = {
            "style_weight": self._style_weight(),
            "steps": self.steps or _STEPS[self.method],
            "side": max(_LEAST, min(256, self.size or 256) // _MULTIPLE * _MULTIPLE),
            "plan": plan,
            "learning_rate": self.learning_rate or _RATES[self.method],
            "seed": seed,
        }
        if self.method == "johnson":
            targets = style_targets(look, [self._tensor(s) for s in styles], self.style_weights_)
            records, epochs = train_johnson(painter, look, targets, photos, **common)
        else:
            records, epochs = train_adain(painter, look, styles, photos, **common)
        done = follow(records, painter, plan=plan, epochs=epochs, label="StyleTransfer", verbose=self.verbose)
        self.history_, self.stopped_ = done.rows, done.stopped

    # ------------------------------------------------------------------------------------------- transform

    def transform(
        self,
        X: Any,
        *,
        alpha: float = 1.0,
        color: str = "style",
        masks: Sequence[Any] | None = None,
        weights: Sequence[float] | None = None,
        style: Any = None,
        tile: int = 1024,
    ) -> np.ndarray | list[np.ndarray]:
        """Paint pictures in the style.

        Args:
            X: A picture as in ``fit``, or a list of them. Grey, CMYK and 16-bit pictures become RGB.
            alpha: Share of the style, from 0 (the content) to 1. "adain" mixes codes, the others mix pictures.
            color: "style" takes the style's colours; "luminance" keeps the content's colours and paints light and dark
                only; "match" gives the style the content's mean and covariance of colours before painting.
            masks: One array H W a style, from 0 to 1: where it applies. Where none does, the content stays.
            weights: Weights of the styles in place of those of ``fit``; not for "johnson", which has learned its own.
            style: Other styles in place of those of ``fit``; not for "johnson".
            tile: Side in pixels of the pieces that "johnson" and "adain" paint larger pictures in.

        Returns:
            uint8 (H, W, 3), or (H, W, 4) where the content is partly transparent; a list for a list. "gatys" paints at
            ``size``, the others at the content's size.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError, DataError, ShapeError, PictureError: An argument or a picture is not as above.
            DivergedError: "gatys" turned non-finite.

        Reference:
            Gatys et al. 2017, arXiv:1611.07865, section 5 (colours), section 4 (regions).
        """
        self._check_fitted("transform")
        who = "StyleTransfer.transform"
        _validate.parameter(who, "alpha", alpha, Number(0, 1))
        _validate.parameter(who, "color", color, Choice(COLORS))
        _validate.parameter(who, "tile", tile, Number(64, integer=True))
        if self.method == "johnson" and (weights is not None or style is not None or color == "match"):
            raise ParameterError(
                f"{who}: weights, style and color='match' change the style, and 'johnson' has learned one; expected none "
                "of them. Use method='adain' or 'gatys', or fit again."
            )
        styles = [photo.resized(self.size) for photo in _pictures(style, who)] if style is not None else self._styles()
        shares = self.style_weights_ if weights is None and style is None else _weights(who, weights, len(styles))
        painted = [
            self._paint_one(photo, styles, shares, alpha, color, masks, tile // _MULTIPLE * _MULTIPLE)
            for photo in _pictures(X, who)
        ]
        return painted[0] if is_one_picture(X) else painted

    def transform_frames(
        self, frames: Iterable[Any], *, consistency: float = 1.0, alpha: float = 1.0, color: str = "style"
    ) -> Iterator[np.ndarray]:
        """Paint the frames of a film one after the other, so that what stands still does not flicker.

        "gatys" begins each frame with the painting of the one before and is held to it where the content stayed as it was
        (then a quarter of ``steps`` is enough); the one-pass methods mix the painting of the frame before into those places.
        What moves is painted anew: motion is not followed.

        Args:
            frames: Pictures of one size, such as `rosenblatt.data.video.read_video` gives.
            consistency: Weight of the term; 0 paints every frame by itself.
            alpha: As `transform`.
            color: As `transform`, but not "match", which would change from frame to frame.

        Yields:
            uint8 (H, W, 3), a frame for each.

        Raises:
            NotFittedError: Before ``fit``.
            ParameterError, PictureError: As `transform`.
            ShapeError: Frames of several sizes.

        Reference:
            Ruder, Dosovitskiy & Brox 2016, arXiv:1604.08610, eq. 5, without its optical flow.
        """
        self._check_fitted("transform_frames")
        who = "StyleTransfer.transform_frames"
        _validate.parameter(who, "consistency", consistency, Number(0))
        _validate.parameter(who, "color", color, Choice(("style", "luminance")))
        _validate.parameter(who, "alpha", alpha, Number(0, 1))
        before: tuple[Tensor, Tensor] | None = None
        for frame in frames:
            photo = read_photo(frame, who=who)
            photo = photo.resized(self.size) if self.method == "gatys" else photo
            content = self._tensor(photo)
            if before is not None and before[0].shape != content.shape:
                raise ShapeError(
                    f"{who}: a frame of {_size(content)} pixels after {_size(before[0])}; expected one size."
                )
            anchor = None
            if before is not None and consistency > 0:
                anchor = Anchor(before[1], stillness(before[0], content), consistency)
            painted = self._paint_frame(content, anchor)
            before = (content, painted)
            yield self._levels(content, torch.lerp(content, painted, alpha), color)

    def _paint_frame(self, content: Tensor, anchor: Anchor | None) -> Tensor:
        styles = [self._tensor(s) for s in self._styles()]
        if self.method == "gatys":
            return self._gatys(content, styles, self.style_weights_, None, anchor)
        painted = self._one_pass(content, styles, self.style_weights_, None, 1.0, 1024)
        if anchor is None:
            return painted
        return torch.lerp(painted, anchor.picture, anchor.still * anchor.weight / (1 + anchor.weight))

    def _levels(self, content: Tensor, picture: Tensor, color: str) -> np.ndarray:
        if color == "luminance":
            picture = keep_colors(picture, content)
        return picture.clamp(0, 1).mul(255).round().byte()[0].permute(1, 2, 0).cpu().numpy()

    def _paint_one(
        self, photo: Photo, styles: list[Photo], shares: list[float], alpha: float, color: str, masks: Any, tile: int
    ) -> np.ndarray:
        photo = photo.resized(self.size) if self.method == "gatys" else photo
        content = self._tensor(photo)
        looked = [self._tensor(s) for s in styles]
        if color == "match":
            looked = [match_colors(s, content) for s in looked]
        regions = None if masks is None else _regions(masks, len(styles), content)
        if self.method == "gatys":
            picture = self._gatys(content, looked, shares, regions)
            picture = torch.lerp(content, picture, alpha)
        else:
            picture = self._one_pass(content, looked, shares, regions, alpha, tile)
        if regions is not None:
            covered = torch.stack(list(regions)).sum(0).clamp(0, 1)
            picture = torch.lerp(content, picture, covered)
        levels = self._levels(content, picture, color)
        return levels if photo.alpha is None else np.dstack([levels, photo.alpha])

    def _gatys(
        self, content: Tensor, styles: list[Tensor], shares: list[float], regions: Any, anchor: Anchor | None = None
    ) -> Tensor:
        height, width = content.shape[2:]
        grown = padded(content, multiple=1, least=_LEAST)
        masks = None if regions is None else [padded(m, multiple=1, least=_LEAST) for m in regions]
        steps = self.steps or _STEPS["gatys"]
        if anchor is not None:
            grow = partial(padded, multiple=1, least=_LEAST)
            steps, anchor = max(1, steps // 4), replace(anchor, picture=grow(anchor.picture), still=grow(anchor.still))
        records = paint(
            self._look(),
            grown,
            styles,
            weights=shares,
            masks=masks,
            style_weight=self._style_weight(),
            steps=steps,
            optimizer=(self.plan or Plan()).optimizer or "lbfgs",
            learning_rate=self.learning_rate,
            anchor=anchor,
        )
        self.history_, picture = [], grown
        for record in progress(records, epochs=steps, label="StyleTransfer", verbose=self.verbose):
            self.history_.append(record.row())
            picture = record.picture
        return picture.detach()[:, :, :height, :width].clamp(0, 1)

    @torch.no_grad()
    def _one_pass(
        self, content: Tensor, styles: list[Tensor], shares: list[float], regions: Any, alpha: float, tile: int
    ) -> Tensor:
        height, width = content.shape[2:]
        grown = padded(content, multiple=_MULTIPLE, least=_LEAST)
        large = max(grown.shape[2:]) > tile
        patches = sampled(grown, side=min(tile, 256)) if large else grown
        if self.method == "johnson":
            with held_statistics(_Cast(self), patches if large else None):
                picture = by_tiles(self._forward, grown, tile=tile, halo=_HALO)
            return torch.lerp(content, picture[:, :, :height, :width], alpha)
        code = self._code(patches).transpose(0, 1)  # C P h w: the statistics of all patches together
        own = channel_statistics(code.reshape(1, code.shape[0], -1, code.shape[3]))
        statistics = [channel_statistics(self._code(_at_least(s))) for s in styles]
        if regions is None:
            mixtures, cover = [blend(statistics, shares)], [None]
        else:
            mixtures, cover = statistics, regions
        total = torch.zeros_like(content)
        weight = 1.0 if regions is None else torch.stack(list(regions)).sum(0).clamp_min(1e-6)
        for mixture, region in zip(mixtures, cover, strict=True):

            def painter(x: Tensor, mixture: Any = mixture) -> Tensor:
                with autocast(x.device, self.precision_):
                    return self.module_.painter.decode(adain(self._code(x), mixture, alpha=alpha, own=own)).float()

            picture = by_tiles(painter, grown, tile=tile, halo=_HALO)[:, :, :height, :width]
            total += picture if region is None else picture * (region / weight)
        return total

    def _forward(self, x: Tensor) -> Tensor:
        with autocast(x.device, self.precision_):
            return self.module_.painter(x.contiguous(memory_format=torch.channels_last)).float()

    def _code(self, x: Tensor) -> Tensor:
        layer = self.module_.painter.layer
        return self._look()(x, (layer,))[layer].float()

    # ---------------------------------------------------------------------------------------------- scores

    @torch.no_grad()
    def distances(self, X: Any, painted: Any) -> dict[str, float]:
        """How far a painted picture is from the content and from the style, so that two settings can be compared.

        Args:
            X: The content.
            painted: Its painting; one of another size is compared at that size.

        Returns:
            "content" and "style": relative squared distances, 0 at best (see `rosenblatt.losses.style`), in fp32.

        Raises:
            NotFittedError: Before ``fit``.
        """
        self._check_fitted("distances")
        who = "StyleTransfer.distances"
        look = Look(self.module_.features)
        after = self._tensor(read_photo(painted, who=who))
        before = self._tensor(read_photo(X, who=who))
        if before.shape != after.shape:
            before = nn.functional.interpolate(before, after.shape[2:], mode="bilinear", antialias=True)
        layers = look.network.CONTENT_LAYERS
        found = look(_at_least(after), (*look.network.STYLE_LAYERS, *layers))
        targets = style_targets(look, [_at_least(self._tensor(s)) for s in self._styles()], self.style_weights_)
        content = content_distance(found, look(_at_least(before), layers))
        return {"content": float(content), "style": float(style_distance(found, targets))}

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the loss of painting a picture: -(content distance + style_weight * style distance).

        Raises:
            NotFittedError: Before ``fit``.
        """
        self._check_fitted("score")
        found = self.distances(X, self.transform(X))
        return -(found["content"] + self._style_weight() * found["style"])

    # ---------------------------------------------------------------------------------------------- shared

    def _look(self) -> Look:
        return Look(self.module_.features, self.precision_)

    def _styles(self) -> list[Photo]:
        return [Photo(pixels) for pixels in self.styles_]

    def _style_weight(self) -> float:
        if self.style_weight is not None:
            return float(self.style_weight)
        return _WEIGHTS[self.method] / (5 if self.network_ == "small" else 1)

    def _tensor(self, photo: Photo) -> Tensor:
        return photo.tensor().to(self.device_)

    def _example_input(self) -> Tensor:
        return torch.zeros(1, 3, 64, 64, device=self.device_)

    def _title(self) -> str:
        return f"StyleTransfer(method={self.method!r}); perceptual network {self.network_}, {self.network_note_}"

    # ------------------------------------------------------------------------------------------ model file

    def _rebuild(self) -> nn.Module:
        if self.network_ == "small":
            features: Perceptual = Small(4 * self.n_pictures_)
        else:
            features = blank(self.network_, last=_LAST[self.network_])
        painter = {"gatys": lambda: None, "johnson": Johnson, "adain": lambda: AdaIN(features)}[self.method]()
        return Stylist(features, painter)

    def _place(self, module: nn.Module, device: torch.device) -> nn.Module:
        return module.to(device, memory_format=torch.channels_last).eval()

    def _check_restored(self) -> None:
        for pixels in self.styles_:
            expect_shape("styles_", pixels, (None, None, 3))
        if len(self.style_weights_) != len(self.styles_):
            raise ValueError(f"{len(self.style_weights_)} style weights; expected {len(self.styles_)}")


class _Cast(nn.Module):
    """The painting network in the estimator's precision, for taking statistics."""

    def __init__(self, estimator: StyleTransfer):
        super().__init__()
        self.painter, self._run = estimator.module_.painter, estimator._forward

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x)


def match_colors(style: Tensor, content: Tensor) -> Tensor:
    """Give a picture the mean and covariance of another's colours (Gatys et al. 2017, section 5.2, by Cholesky factors)."""
    a, b = style.double().flatten(2)[0], content.double().flatten(2)[0]  # 3 pixels
    ridge = 1e-5 * torch.eye(3, dtype=torch.float64, device=style.device)
    factors = [torch.linalg.cholesky(torch.cov(x, correction=0) + ridge) for x in (a, b)]
    moved = factors[1] @ torch.linalg.solve_triangular(factors[0], a - a.mean(1, keepdim=True), upper=False)
    return (moved + b.mean(1, keepdim=True)).reshape(style.shape).clamp(0, 1).to(style.dtype)


def keep_colors(painted: Tensor, content: Tensor) -> Tensor:
    """Light and dark of the painting, colours of the content (Gatys et al. 2017, section 5.1; luma of ITU-R BT.601)."""
    luma = torch.tensor([0.299, 0.587, 0.114], device=painted.device).view(1, 3, 1, 1)
    return content + ((painted - content) * luma).sum(1, keepdim=True)


def _pictures(source: Any, who: str) -> list[Photo]:
    sources = [source] if is_one_picture(source) else list(source)
    if not sources:
        raise DataError(f"{who}: no picture at all; expected at least one.")
    return [read_photo(one, who=who) for one in sources]


def _folder_or_pictures(source: Any, who: str) -> list[Photo]:
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        suffixes = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
        files = sorted(p for p in Path(source).rglob("*") if p.suffix.lower() in suffixes)
        if not files:
            raise DataError(f"{who}: {source} holds no pictures; expected files such as .jpg or .png.")
        source = files
    return _pictures(source, who)


def _weights(who: str, weights: Any, count: int) -> list[float]:
    if weights is None:
        return [1.0] * count
    values = [float(w) for w in weights]
    if len(values) != count or min(values, default=0) < 0 or not 0 < sum(values) < float("inf"):
        raise ParameterError(f"{who}: weights={values} for {count} styles; expected one number >= 0 each, not all 0.")
    return values


def _regions(masks: Any, count: int, content: Tensor) -> list[Tensor]:
    """Masks as (1, 1, H, W), at the content's size."""
    who, found = "StyleTransfer.transform", []
    if len(masks) != count:
        raise ParameterError(f"{who}: {len(masks)} masks for {count} styles; expected one a style.")
    for mask in masks:
        array = np.asarray(mask, dtype=np.float32)
        if array.ndim != 2 or 0 in array.shape:
            raise ShapeError(f"{who}: a mask of shape {array.shape}; expected H W.")
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise DataError(f"{who}: a mask with values outside 0 to 1; expected 0 (not here) to 1 (here).")
        tensor = torch.from_numpy(array.copy())[None, None].to(content.device)
        found.append(nn.functional.interpolate(tensor, content.shape[2:], mode="bilinear", antialias=True).clamp(0, 1))
    return found


def _size(x: Tensor) -> str:
    return f"{x.shape[3]} x {x.shape[2]}"


def _at_least(x: Tensor) -> Tensor:
    return padded(x, multiple=1, least=_LEAST)
