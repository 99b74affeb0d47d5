"""Transfers of expressions: what the application answers, without Ray around it."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.faces.photos import face as drawn
from tests.faces.photos import photograph
from tests.serve_app.samples import UNITS, Held, face, forge, held, make_bundle, not_numbers, opened, png
from visage.config import Serving, validated
from visage.faces.provenance import read_provenance
from visage.methods.eft.editor import TransferEditor
from visage.methods.requests import DRIVER

Post = Callable[..., httpx.Response]
ALIGNED = {"aligned": "true"}


@pytest.fixture(scope="module")
def carrier(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_bundle(tmp_path_factory.mktemp("carrier") / "bundle", method="eft")


@pytest.fixture(scope="module")
def transfer(request_app: Callable[..., httpx.Response], carrier: Any) -> Post:
    """transfer(image, drivers, Accept, **fields) to /v1/transfer."""
    transfers = held(carrier)

    def ask(
        image: bytes, drivers: list[bytes], accept: str = "application/json", fields: dict[str, str] = ALIGNED,
        transfers: Any = transfers, **more: Any,
    ) -> httpx.Response:  # fmt: skip
        files = [("image", ("a", image)), *(("driver", ("b", driver)) for driver in drivers)]
        headers = {"Accept": accept}
        return request_app(
            "POST", "/v1/transfer", files=files, data=fields, headers=headers, transfers=transfers, **more
        )

    return ask


def test_one_driver_makes_one_picture(transfer: Post, carrier: Any, tmp_path: Path) -> None:
    answer = transfer(png(face(0)), [png(face(1))], "image/png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["visage-model"] == "visage-eft"
    expected = TransferEditor(carrier).run(np.stack([face(0), face(1)]), [0], [1]).faces[0]
    assert (opened(answer.content) == expected).all()
    (tmp_path / "made.png").write_bytes(answer.content)
    provenance = read_provenance(tmp_path / "made.png")
    assert provenance
    assert provenance.model == "visage-eft"


def test_several_drivers_are_answered_in_their_order_each_as_if_alone(transfer: Post) -> None:
    drivers = [png(face(seed)) for seed in (1, 2, 3)]
    answer = transfer(png(face(0)), drivers).json()
    assert answer["model"]["name"] == "visage-eft"
    assert len(answer["results"]) == 3
    made = [opened(base64.b64decode(result["image"])).astype(int) for result in answer["results"]]
    for driver, picture in zip(drivers, made, strict=True):
        alone = opened(transfer(png(face(0)), [driver], "image/png").content)
        assert np.abs(alone - picture).max() <= 1
    assert (made[0] != made[1]).any()
    assert all(-1 <= result["identity_similarity"] <= 1 for result in answer["results"])
    assert all(0 < result["natural"] < 1 for result in answer["results"])


def test_requests_that_meet_in_a_batch_get_their_own(carrier: Any, transfer: Post) -> None:
    from serve_app.inference import Job, run_jobs
    from serve_app.request_form import Form
    from visage.editing.expression import locate

    model = held(carrier).model
    jobs = []
    units = model.editor.asked({12: 0.9})[None]
    located = locate(face(5), 32, None, "")
    jobs.append(Job(model, Form(png(face(5)), (), (1.0,), "face", "png", True), ((0, 1.0),), 1, located, None, units))
    for source, drivers in ((0, (1, 2)), (3, (4,))):
        form = Form(png(face(source)), (), (1.0,), "face", "png", True)
        wanted = tuple((place, 1.0) for place in range(len(drivers)))
        located, faces = locate(face(source), 32, None, ""), np.stack([face(seed) for seed in drivers])
        jobs.append(Job(model, form, wanted, len(wanted), located, faces))
    together = run_jobs(jobs)
    for job, done in zip(jobs, together, strict=True):
        (alone,) = run_jobs([job])
        assert np.abs(done.edited.faces.astype(int) - alone.edited.faces).max() <= 1
        assert done.edited.similarity == pytest.approx(alone.edited.similarity, abs=1e-4)


def test_photographs_are_searched_for_their_face(transfer: Post) -> None:
    photos = [png(photograph(drawn(1, "neutral"))), png(photograph(drawn(2, "happy")))]
    answer = transfer(photos[0], photos[1:], fields={"view": "photo"}).json()
    before, after = opened(photos[0]), opened(base64.b64decode(answer["results"][0]["image"]))
    assert before.shape == after.shape
    assert 0 < (before != after).any(axis=2).mean() < 0.6
    x0, y0, x1, y1 = answer["results"][0]["driver"]["box"]
    assert 0 < x1 - x0 < before.shape[1]
    assert 0 < y1 - y0 < before.shape[0]


@pytest.mark.parametrize(
    ("drivers", "fields", "status", "words"),
    [
        ([], ALIGNED, 422, "fields driver and au: are both missing"),
        ([png(face(1))], {**ALIGNED, "au": '{"12": 1}'}, 422, "fields driver and au: are both given"),
        ([], {**ALIGNED, "au": "smile"}, 422, "au = 'smile': is no JSON object"),
        ([], {**ALIGNED, "au": "[12]"}, 422, "au = '[12]': is no JSON object"),
        ([], {**ALIGNED, "au": "[" * 9000}, 422, "is no JSON object"),
        ([], {**ALIGNED, "au": '{"smile": 1}'}, 422, "'smile' is no FACS number"),
        ([], {**ALIGNED, "au": '{"12": "much"}'}, 422, "unit 12 has no intensity from 0 to 1"),
        ([], {**ALIGNED, "au": '{"12": true}'}, 422, "unit 12 has no intensity"),
        ([], {**ALIGNED, "au": '{"12": 1' + "0" * 400 + "}"}, 422, "unit 12 has no intensity"),
        ([], {**ALIGNED, "au": '{"12": 1.5}'}, 422, "action unit 12 = 1.5: give an intensity from 0 to 1"),
        ([], {**ALIGNED, "au": '{"12": NaN}'}, 422, "action unit 12 = nan: give"),
        ([], {**ALIGNED, "au": '{"12": 0.1, "12": 0.9}'}, 422, "au: unit 12 is given twice; give it once"),
        ([], {**ALIGNED, "au": '{"1": 0.1, "01": 0.9}'}, 422, "au: unit 01 is given twice"),
        ([], {**ALIGNED, "au": '{"9": 0.5}'}, 422, "action unit 9: the model does not know it; it knows 1, 2, 4, 6"),
        ([png(face(1)), b"no picture"], ALIGNED, 400, "driver 2"),
        ([png(np.zeros((20, 30, 3), np.uint8))], ALIGNED, 422, "driver 1: is 30 x 20 pixels"),
        ([png(face(1))], {**ALIGNED, "expression": "happy"}, 422, "'expression': is unknown"),
        ([png(face(1))], {"aligned": "perhaps"}, 422, "aligned = 'perhaps'"),
        ([bytes(300_000), bytes(300_000)], ALIGNED, 413, "0.5 megabytes"),
        ([png(face(1))] * 70, ALIGNED, 400, "64 parts"),
    ],
)
def test_bad_drivers_and_units_are_one_sentence(
    transfer: Post, drivers: list[bytes], fields: dict[str, str], status: int, words: str
) -> None:
    answer = transfer(png(face(0)), drivers, fields=fields)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_action_units_in_place_of_a_driver(transfer: Post, carrier: Any) -> None:
    asked = {**ALIGNED, "au": '{"12": 0.8, "6": 0.5}'}
    answer = transfer(png(face(0)), [], fields=asked).json()
    (result,) = answer["results"]
    networks = TransferEditor(carrier)
    units = networks.asked({12: 0.8, 6: 0.5})[None]
    expected = networks.run(face(0)[None], [0], [0], units=units)
    assert np.abs(opened(base64.b64decode(result["image"])).astype(int) - expected.faces[0]).max() <= 1
    assert result["driver"] is None
    assert set(result["read"]) == {str(au) for au in UNITS}
    assert result["read"]["1"] == pytest.approx(expected.units[0][0], abs=1e-3)  # type: ignore[index]
    assert -1 <= result["identity_similarity"] <= 1
    alone = transfer(png(face(0)), [], "image/png", fields=asked)
    assert (opened(alone.content) == opened(base64.b64decode(result["image"]))).all()
    none = transfer(png(face(0)), [], "image/png", fields={**ALIGNED, "au": "{}"})
    assert (opened(none.content) == networks.run(face(0)[None], [0], [0]).faces[0]).all()
    driven = transfer(png(face(1)), [png(face(0))]).json()["results"][0]
    assert driven["read"] == result["read"]


@pytest.mark.slow
def test_a_model_says_which_action_units_it_can_be_told(
    transfer: Post, request_app: Callable[..., httpx.Response], tmp_path: Path
) -> None:
    older = held(make_bundle(tmp_path / "older", method="eft", units=()))
    for transfers, known in ((None, list(UNITS)), (older, [])):
        more = {} if transfers is None else {"transfers": transfers}
        answer = transfer(png(face(0)), [], fields={**ALIGNED, "au": '{"12": 1}'}, **more)
        assert answer.status_code == (200 if known else 422)
        shown = held(make_bundle(tmp_path / "new", method="eft")) if transfers is None else transfers
        assert request_app("GET", "/v1/model?method=eft", transfers=shown).json()["action_units"] == known
    assert "cannot be told action units" in answer.json()["detail"]
    assert "action_units" not in request_app("GET", "/v1/model").json()


@pytest.mark.parametrize("place", [0, 1])
def test_a_picture_without_a_face_is_named(transfer: Post, place: int) -> None:
    pictures = [png(photograph(drawn(1, "neutral"))), png(photograph(drawn(2, "happy")))]
    pictures[place] = png(np.full((200, 200, 3), 120, np.uint8))
    answer = transfer(pictures[0], pictures[1:], fields={})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(("image: no face", "driver 1: no face")[place])


def test_of_a_driver_with_several_faces_none_can_be_named(transfer: Post) -> None:
    pair = png(photograph(drawn(1, "neutral"), drawn(2, "happy")))
    answer = transfer(png(photograph(drawn(1, "neutral"))), [pair], fields={})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "driver 1: 2 faces were found; crop it to the one that is meant."
    assert "faces" not in answer.json()


def test_without_a_model_of_transfers_that_route_alone_says_so(
    transfer: Post, request_app: Callable[..., httpx.Response], carrier: Any
) -> None:
    away = Held(None, "visage-eft@champion: visage-eft has no alias champion; promote a version.")
    for transfers, status, words in ((None, 404, "set the endpoint's transfer"), (away, 503, "no alias champion")):
        for answer in (
            transfer(png(face(0)), [png(face(1))], transfers=transfers),
            request_app("GET", "/v1/model?method=eft", transfers=transfers),
        ):
            assert answer.status_code == status
            assert words in answer.json()["detail"]
    assert "transfer" not in request_app("GET", "/v1/model").json()
    assert request_app("GET", "/v1/model", transfers=away).json()["transfer"] is None
    there = request_app("GET", "/v1/model", transfers=held(carrier)).json()
    assert (there["name"], there["transfer"]["name"]) == ("visage-ucgan", "visage-eft")
    assert request_app("GET", "/v1/model?method=eft", transfers=held(carrier)).json() == there["transfer"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["other method", "broken"])
def test_a_model_that_does_not_do_is_refused(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from serve_app.model_reloader import Holder

    # Without a model it is tried again soon, and a thread of torch that is at work must not meet this process's end.
    monkeypatch.setattr("serve_app.model_reloader.POLL_SECONDS", 3600)
    make_bundle(tmp_path / "bundle", method="ucgan" if fault == "other method" else "eft")
    if fault == "broken":
        forge(tmp_path / "bundle", not_numbers)
    tree = {"model": str(tmp_path / "bundle"), "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"}
    serving = validated(Serving, {**tree, "access": {"required": False}}, "test")
    holder = Holder(serving, poll_seconds=3600, request=DRIVER)
    assert holder.model is None
    words = {"other method": "is of method ucgan and this takes eft", "broken": "a golden picture differs"}
    assert words[fault] in holder.fault
