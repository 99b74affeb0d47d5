"""Whether what the page shows can be seen."""

from typing import TYPE_CHECKING

import pytest

from tests.browser import CONTRASTS
from tests.serve_app.page.looking import IN_BROWSER, choose_sample, fault

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = IN_BROWSER


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_edges_stand_out_enough_to_be_seen(page: "Page", url: str, scheme: str) -> None:
    """WCAG 2.2 AA, measured in the browser: 4.5 to 1 for text, 3 to 1 for large text and for edges of controls."""
    page.emulate_media(color_scheme=scheme)
    choose_sample(page)
    found = page.evaluate(CONTRASTS)
    page.get_by_role("radio", name="By face or muscle").check()
    page.locator("#drivers button").first.click()
    page.locator("#transfer-result").wait_for()
    found += page.evaluate(CONTRASTS)
    page.set_input_files("#file", {"name": "face.png", "mimeType": "image/png", "buffer": b"x"})
    fault(page)
    page.evaluate("for (const id of ['key-form', 'again']) document.getElementById(id).hidden = false")
    found += page.evaluate(CONTRASTS)
    names = {name for name, _, _ in found}
    expected = {"text of fault", "text of download", "text of camera", "edge of key", "edge of camera"}
    assert expected | {"text of unit-12-value", "text of units-reset"} <= names
    assert not [(name, round(ratio, 2)) for name, ratio, least in found if ratio < least]
