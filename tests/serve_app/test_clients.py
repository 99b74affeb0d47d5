"""The clients and `visage edit --url` against the endpoint's own application, on a real socket without Ray."""

import asyncio
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.faces.photos import face as drawn
from tests.faces.photos import photograph
from tests.serve_app.samples import EXPRESSIONS, face, held, opened, png, run_alone
from tests.servers import running
from visage.client import AsyncClient, Client, ClientError, KeyRate
from visage.editing.expression import FRAMES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def url(bundle: Any) -> Iterator[str]:
    from serve_app.inference import Answers
    from serve_app.routes import build_app
    from visage.config.serving import Limits

    with running(build_app(held(bundle), Answers(run_alone, megapixels=50, self_check=True), Limits())) as url:
        yield url


def test_both_clients_get_the_same(url: str) -> None:
    async def ask() -> Any:
        async with AsyncClient(url, timeout=300) as client:
            assert await client.healthz()
            return await client.model(), await client.expressions(png(face()), intensity=0.5, aligned=True)

    model, answer = asyncio.run(ask())
    with Client(url, timeout=300) as client:
        assert client.healthz()
        assert client.model() == model
        assert client.expressions(png(face()), intensity=0.5, aligned=True) == answer
    assert model.expressions == EXPRESSIONS
    assert [result.expression for result in answer.results] == list(EXPRESSIONS)
    assert answer.model.run_id == model.run_id
    assert opened(answer.results[1].image).shape == (32, 32, 3)


def test_several_intensities_are_one_answer(url: str) -> None:
    with Client(url, timeout=300) as client:
        answer = client.expressions(png(face()), ["happy", "sad"], intensity=[0.5, 1], aligned=True)
    found = {(result.expression, result.intensity) for result in answer.results}
    assert found == {("happy", 0.5), ("happy", 1), ("sad", 0.5), ("sad", 1)}
    assert len(answer.results) == 4


def test_its_faults_are_sentences(url: str) -> None:
    with Client(url, timeout=300) as client:
        for status, content, more in (
            (400, b"text", {}),
            (422, png(face()), {"intensity": 2.0}),
            (422, png(face()), {"expressions": ["smug"]}),
        ):
            with pytest.raises(ClientError, match=r"\.$") as fault:
                client.expressions(content, aligned=True, **more)
            assert fault.value.status == status


def test_of_several_faces_the_option_is_named(url: str, tmp_path: Path) -> None:
    from visage.errors import UserError
    from visage.workflows.pictures import edit_photo

    pair = tmp_path / "pair.png"
    pair.write_bytes(png(photograph(drawn(1, "neutral"), drawn(2, "happy"))))
    with Client(url, timeout=300) as client, pytest.raises(ClientError, match="field face") as fault:
        client.expressions(pair, ["happy"])
    left, right = fault.value.faces
    assert left.box[2] < right.box[0]
    with pytest.raises(UserError, match=rf"^{pair}: 2 faces were found; .* from --face 1 on the left to --face 2\.$"):
        edit_photo(pair, "happy", tmp_path / "out.png", 1.0, "", url, "photo", "")
    edit_photo(pair, "happy", tmp_path / "out.png", 1.0, "", url, "photo", "", face=2)


def test_they_see_what_is_left_of_a_key_s_rate(bundle: Any, url: str) -> None:
    from serve_app.inference import Answers
    from serve_app.middleware import Around
    from serve_app.rate_limit import Rates, Standing
    from serve_app.routes import build_app
    from visage.config.serving import Limits, Rate

    class Count:
        buckets = Rates(Rate(per_minute=12, burst=3))

        async def count(self, name: str) -> Standing:
            return self.buckets.count(name, 0.0)

    answers = Answers(run_alone, megapixels=1, self_check=False)
    app = build_app(held(bundle), answers, Limits(), around=Around(limiter=Count()))
    with running(app) as limited, Client(limited, patience=0) as client:
        assert client.rate is None
        client.model()
        assert client.rate == KeyRate(quota=3, window=15, left=2, whole=5)
        client.model()
        client.model()
        with pytest.raises(ClientError, match="asks more often") as refused:
            client.model()
        assert (client.rate.left, refused.value.retry_after) == (0, 5)
    with Client(url) as client:
        client.model()
        assert client.rate is None


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
def test_editing_by_an_address_keeps_the_provenance(url: str, london: Path, tmp_path: Path, ending: str) -> None:
    from visage.faces.provenance import Provenance, read_provenance
    from visage.workflows.pictures import edit_photo

    photo, out = min((london / "neutral_front").glob("*.jpg")), tmp_path / f"out{ending}"
    edit_photo(photo, "happy", out, 1.0, "", url, "photo", "")
    expected = Provenance("visage-ucgan", None, "0" * 32, "compositeWithTrainedAlgorithmicMedia")
    assert read_provenance(out) == expected
    assert opened(out.read_bytes()).shape == opened(photo.read_bytes()).shape


def test_an_animation_by_the_client_and_by_the_command(url: str, london: Path, tmp_path: Path) -> None:
    from visage.errors import UserError
    from visage.faces.provenance import read_provenance
    from visage.workflows.pictures import edit_photo

    with Client(url, timeout=300) as client:
        (result,) = client.expressions(png(face()), ["happy"], aligned=True, format="webp").results
    with Image.open(io.BytesIO(result.image)) as image:
        assert (image.format, image.n_frames) == ("WEBP", FRAMES)
    photo, out = min((london / "neutral_front").glob("*.jpg")), tmp_path / "out.webp"
    edit_photo(photo, "happy", out, 1.0, "", url, "face", "", animation=True)
    with Image.open(out) as image:
        assert image.n_frames == FRAMES
    assert read_provenance(out) is not None
    with pytest.raises(UserError, match=r"\.webp"):
        edit_photo(photo, "happy", tmp_path / "out.png", 1.0, "", url, "face", "", animation=True)


def test_the_page_s_examples_run(url: str, london: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "client.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    examples = [example for example in examples if "send_batch" not in example]  # in test_sent_batches.py
    assert len(examples) == 2
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    photo = min((london / "neutral_front").glob("*.jpg")).read_bytes()
    for path in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        Path(path).write_bytes(photo)
    for example in examples:
        exec(compile(example.replace("http://127.0.0.1:8000", url), "client.md", "exec"), {})
    for name in ("smiling.png", "a_happy.png", "b_happy.png"):
        assert opened(Path(name).read_bytes()).ndim == 3
