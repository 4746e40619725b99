"""What a refusal suggests: the challenge may be missed only where the request went without it."""

from __future__ import annotations

import pytest

from certagent.errors import RejectedError
from certagent.lab import Answer, Settings
from certagent.scep import Request
from certagent.transaction.renewal import Wish
from certagent.transaction.report import Result
from tests.renewal.line import BadLine, line
from tests.renewal.site import DAY, Sites

MISSED = "set send_challenge: always"


class Refusing(BadLine):
    """Honest until `fail_info` is set."""

    fail_info = ""

    def decide(self, request: Request) -> Answer:
        if self.fail_info:
            raise RejectedError("not so", fail_info=self.fail_info)
        return super().decide(request)


@pytest.mark.parametrize(
    ("fail_info", "wish", "lines", "missed"),
    [
        pytest.param("badRequest", Wish.RENEW, {}, True, id="a renewal without it"),
        pytest.param("badRequest", Wish.RENEW, {"authority": "send_challenge: always"}, False, id="a renewal with it"),
        pytest.param(
            "badRequest", Wish.RENEW, {"keystore": "key_type: ec:p256"}, False, id="a transport key brings it"
        ),
        pytest.param("badRequest", Wish.ENROLL, {}, False, id="an enrollment"),
        pytest.param("badAlg", Wish.RENEW, {}, False, id="refused for its algorithm"),
        pytest.param("badCertId", Wish.RENEW, {}, False, id="refused for its certificate"),
    ],
)
def test_the_challenge_may_be_missed(
    make_site: Sites, fail_info: str, wish: Wish, lines: dict[str, str], missed: bool
) -> None:
    site = make_site(Settings(lifetime=90 * DAY), ca=Refusing)
    site.write(**{"keystore": "rekey: never", **lines})  # type: ignore[arg-type]  # its words
    assert site.run().result is Result.ENROLLED
    ca = line(site)
    assert isinstance(ca, Refusing)
    ca.fail_info = fail_info
    refused = site.run(wish)
    assert (refused.result, f"{fail_info} (not so)" in str(refused.message)) == (Result.FAILED, True)
    assert (MISSED in str(refused.hint)) is missed
