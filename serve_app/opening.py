"""How the pictures of a request are opened: counted before they are decoded, and no larger than is needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from serve_app.problems import Problem
from serve_app.request_form import Form
from serve_app.responses import place_of, require_few_pixels
from visage.editing.expression import Located, locate, not_square
from visage.errors import UserError
from visage.faces.align import DETECTION_SIDES, SMALLEST_FACE, Found, SeveralFaces
from visage.faces.picture import Announced, TooManyPixels, announced, read_picture

ORIGIN = "image"


@dataclass(frozen=True)
class Opening:
    """How the pictures of a request are opened. size: the model's side. megapixels: the most of one picture. take:
    counts them, as `Pixels.share` yields it. count: the whole photographs that are written; 0 where the face alone is
    shown, of which the photograph is then forgotten, and a JPEG is decoded no larger than its face needs."""

    size: int
    megapixels: float
    take: Callable[[float], None]
    count: int = 0

    def read(self, form: Form, origin: str) -> tuple[np.ndarray, Announced]:
        """The form's picture, uint8 H,W,3. Raises Problem 400, 413, 422 or 429, which names it by `origin`."""
        how: dict[str, Any] = {"megapixels": self.megapixels, "name": origin, "enough": self._enough(form.aligned)}
        try:
            header = announced(form.image, **how)
            if form.aligned and header.width != header.height:
                raise Problem(422, not_square(origin, header.width, header.height))
            require_few_pixels(form, header.width, header.height, self.count)
            self.take(header.megapixels * (1 + self.count))
            return read_picture(form.image, **how), header
        except TooManyPixels as error:
            raise Problem(413, str(error)) from None
        except UserError as error:
            raise Problem(400, str(error)) from None

    def locate(
        self, photo: np.ndarray, header: Announced, found: Sequence[Found] | None, origin: str, face: int | None = None
    ) -> Located:
        """The face of what `read` has read, in pixels of the file. found: the faces in it, None of an aligned one.
        face: which of several. Raises Problem 422, which says where the faces are if `image` has several."""
        try:
            located = locate(photo, self.size, found, origin, face)
        except SeveralFaces as error:
            if origin != ORIGIN:  # a driver, of which none can be named
                raise Problem(422, str(error)) from None
            places = [place_of(each.box, each.landmarks, header.times).model_dump() for each in error.faces]
            detail = f"{str(error).rstrip('.')}, or name it in the field face, from 1 on the left."
            raise Problem(422, detail, faces=places) from None
        except UserError as error:
            raise Problem(422, str(error)) from None
        if self.count:
            return located
        self.take(-header.megapixels)
        x0, y0, x1, y1 = (float(side) * header.times for side in located.box)
        return replace(located, photo=located.face, box=(x0, y0, x1, y1), landmarks=located.landmarks * header.times)

    def open_aligned(self, form: Form, origin: str) -> Located:
        """Both of these, for a picture that is a face already."""
        photo, header = self.read(form, origin)
        return self.locate(photo, header, None, origin)

    def _enough(self, aligned: bool) -> int | None:
        """Pixels of the longer side: those with which the smallest face that is found has the model's side."""
        if self.count:
            return None
        searched = DETECTION_SIDES[1]
        return 2 * self.size if aligned else max(2 * searched, self.size * searched // SMALLEST_FACE)
