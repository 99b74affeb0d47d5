"""Faults as problem documents (RFC 9457): a status, its title, and one sentence that says what to do."""

from collections.abc import Mapping

from starlette.responses import Response

from serve_app.haproxy import PROBLEM, problem


class Problem(Exception):
    """A fault that the caller sees as a problem document. more: further members of it."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers, self.more = status, detail, headers, more

    def response(self) -> Response:
        return Response(problem(self.status, self.detail, **self.more), self.status, self.headers, PROBLEM)
