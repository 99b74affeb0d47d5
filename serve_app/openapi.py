"""What /openapi.json and /docs say of the routes, with examples."""

from typing import Any

from serve_app.haproxy import PROBLEM
from visage.api.schema import ProblemDocument


def _form(properties: dict[str, Any], encoding: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A multipart form with an image. more: further keys of its media type."""
    schema = {"type": "object", "required": ["image"], "properties": properties}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema, "encoding": encoding, **more}}}


_FIELDS: dict[str, Any] = {
    "image": {
        "type": "string",
        "format": "binary",
        "description": "A picture with one face: JPEG, PNG, WebP, TIFF, BMP.",
    },
    "expression": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Names as in /v1/model; none means all. At most 64 faces in one request.",
    },
    "intensity": {
        "type": "array",
        "items": {"type": "number", "minimum": 0, "maximum": 1.5},
        "description": "0 to 1.5; several give each expression at each of them; none means 1.",
    },
    "mix": {
        "type": "object",
        "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1.5},
        "description": "In place of expression and intensity: how much of each expression, together at most 1.5.",
        "example": {"happy": 0.6, "surprise": 0.5},
    },
    "format": {
        "type": "string",
        "enum": ["png", "webp"],
        "default": "png",
        "description": "webp: an animation from neutral to one expression at one intensity.",
    },
    "view": {
        "type": "string",
        "enum": ["face", "photo"],
        "default": "face",
        "description": "The aligned face alone, or the whole photograph with the new face in it.",
    },
    "aligned": {
        "type": "boolean",
        "default": False,
        "description": "The picture is an aligned face already.",
    },
    "face": {
        "type": "integer",
        "minimum": 1,
        "description": "Which of several faces in the picture, from left to right; none where there is one.",
    },
    "version": {
        "type": "string",
        "description": "champion, challenger or a number; none leaves it to the endpoint.",
    },
}
FORM = _form(
    _FIELDS,
    {
        **{name: {"style": "form", "explode": True} for name in ("expression", "intensity")},
        "mix": {"contentType": "application/json"},
    },
    examples={
        "one": {
            "summary": "A smile in the whole photograph",
            "value": {"image": "photo.jpg", "expression": ["happy"], "view": "photo"},
        },
        "grid": {
            "summary": "Two expressions at three intensities, in one pass",
            "value": {"image": "photo.jpg", "expression": ["happy", "sad"], "intensity": [0.3, 0.6, 1]},
        },
        "animation": {
            "summary": "From neutral to a smile",
            "value": {"image": "photo.jpg", "expression": ["happy"], "format": "webp"},
        },
    },
)
TRANSFER_FORM = _form(
    {
        "image": _FIELDS["image"],
        "driver": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "description": "Pictures with one face each, whose expressions the first one gets in one pass.",
        },
        "au": {
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
            "description": "In place of drivers: action units by FACS number, those that `action_units` of "
            "/v1/model lists. What is not named stays as the model reads it in the picture.",
            "example": {"6": 0.5, "12": 0.8},
        },
        "view": _FIELDS["view"],
        "face": _FIELDS["face"],
        "aligned": {
            "type": "boolean",
            "default": False,
            "description": "The pictures are aligned faces already.",
        },
    },
    {"driver": {"style": "form", "explode": True}, "au": {"contentType": "application/json"}},
)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {status: {"model": ProblemDocument, "content": {PROBLEM: {"schema": schema}}} for status in statuses}


PNG = {"schema": {"type": "string", "format": "binary"}}
PICTURES: dict[int | str, dict[str, Any]] = {200: {"content": dict.fromkeys(("image/png", "image/webp"), PNG)}}
