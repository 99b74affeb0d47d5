"""From what came out of the networks to files and JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from serve_app.problems import Problem
from serve_app.request_form import Form
from visage.api.schema import ExpressionResult, Expressions, FacePlace, TransferResult, Transfers
from visage.editing.expression import Located
from visage.faces.facs import AUS
from visage.faces.picture import encode_animation, encode_picture
from visage.methods.base import Edited

if TYPE_CHECKING:
    from serve_app.inference import Done, Job

# Of one answer, at some 9 bytes a pixel until it is sent; an animation's pictures are all in memory at once.
WRITTEN_MEGAPIXELS = {"png": 100.0, "webp": 48.0}


def encode(job: "Job", edited: Edited) -> tuple[bytes, ...]:
    """The files of a job's faces: a PNG for each, or one WebP with all as its frames; with their provenance."""
    view = job.form.view
    pictures = (job.located.view(face, view) for face in edited.faces)
    xmp = job.model.xmp(view)
    if job.form.format == "webp":
        return (encode_animation(pictures, xmp=xmp),)
    return tuple(encode_picture(picture, xmp=xmp) for picture in pictures)


def require_few_pixels(form: Form, width: int, height: int, count: int) -> None:
    """Raise Problem 422 where an answer of so many whole photographs would be too large."""
    most = WRITTEN_MEGAPIXELS[form.format]
    if count * height * width > most * 1e6:
        raise Problem(
            422,
            f"{count} pictures of {width} x {height} pixels: are more than {most:g} megapixels in one answer; send a "
            "smaller photograph or ask for view=face.",
        )


def document(job: "Job", wanted: Sequence[tuple[int, float]], done: "Done") -> bytes:
    """The JSON answer of expressions."""
    files, edited = done.files or encode(job, done.edited), done.edited
    # Of an animation the values of the last picture, as that is the one asked for.
    checks = (_numbers(values[-len(wanted) :]) for values in (edited.similarity, edited.confidence, edited.natural))
    results = tuple(
        ExpressionResult(
            expression=job.model.editor.expressions[index],
            intensity=intensity,
            image=file,
            identity_similarity=similarity,
            expression_confidence=confidence,
            natural=natural,
            **({} if job.form.mix is None else {"mix": dict(job.form.mix)}),
        )
        for (index, intensity), file, similarity, confidence, natural in zip(wanted, files, *checks, strict=True)
    )
    answer = Expressions(results=results, face=_place(job.located), model=job.model.reference())
    return answer.model_dump_json().encode()


def transfer_document(job: "Job", driving: Sequence[Located], done: "Done") -> bytes:
    """The JSON answer of transfers. driving: where the drivers' faces are; empty where units were told."""
    files, edited, known = done.files or encode(job, done.edited), done.edited, job.model.editor.action_units
    results = []
    checks = _numbers(edited.similarity), _numbers(edited.natural)
    for place, (file, similarity, natural) in enumerate(zip(files, *checks, strict=True)):
        read = [] if edited.units is None else edited.units[place].tolist()
        results.append(
            TransferResult(
                image=file,
                identity_similarity=similarity,
                natural=natural,
                driver=_place(driving[place]) if driving else None,
                read={au: round(value, 3) for au, value in zip(AUS, read, strict=True) if au in known},
            )
        )
    answer = Transfers(results=tuple(results), face=_place(job.located), model=job.model.reference())
    return answer.model_dump_json().encode()


def _place(located: Located) -> FacePlace:
    return place_of(located.box, located.landmarks)


def place_of(box: Sequence[float], landmarks: np.ndarray, times: float = 1) -> FacePlace:
    """Where a face is. times: of the file's pixels, how many stand for one of these."""
    return FacePlace(
        box=tuple(round(float(value) * times, 2) for value in box),
        landmarks=tuple((round(float(x) * times, 2), round(float(y) * times, 2)) for x, y in landmarks),
    )


def _numbers(values: np.ndarray) -> list[float | None]:
    """As JSON has them: null where nothing was computed."""
    return [None if np.isnan(value) else float(value) for value in values]
