"""What /openapi.json promises holds for whatever schemathesis makes of it. The application alone, without Ray."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serve_app.samples import held, make_bundle, run_alone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def schema(bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import schemathesis

    from serve_app.batches.desk import Desk
    from serve_app.inference import Answers
    from serve_app.routes import build_app
    from serve_app.webhook import Webhook
    from visage.config.serving import Batches, Limits

    answers = Answers(run_alone, megapixels=1, self_check=True)
    carrier = make_bundle(tmp_path_factory.mktemp("carrier") / "bundle", method="eft")
    desk = Desk(Batches(dir=str(tmp_path_factory.mktemp("batches")), of_a_key=10_000))
    limits, signed = Limits(megapixels=1), Webhook("secret-of-the-tests")
    app = build_app(held(bundle), answers, limits, transfers=held(carrier), desk=desk, webhook=signed)
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def check(schema: Any, examples: int) -> None:
    """Every operation answers as the document says: statuses, kinds of content, and shapes; never with a 500."""
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    operations = [found.ok() for found in schema.get_all_operations()]
    paths = {"/healthz", "/v1/model", "/v1/expressions", "/v1/transfer", "/v1/batches/{id}/result", "/webhook"}
    assert paths <= {each.path for each in operations}

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data())
    def run(data: Any) -> None:
        operation = data.draw(st.sampled_from(operations))
        case = data.draw(operation.as_strategy())
        answer = case.call()
        assert answer.status_code < 500
        # Bytes that the document allows are seldom a picture.
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])

    run()


def test_answers_are_as_documented(schema: Any) -> None:
    check(schema, 60)


@pytest.mark.soak
def test_many_answers_are_as_documented(schema: Any) -> None:
    check(schema, 3000)
