"""What stays to be seen in `status` and `check`: what a first certificate lacks, and what cannot be tried out."""

from __future__ import annotations

import pytest

from certagent.transaction.report import Result
from tests.fitness.conftest import Benches
from tests.fitness.issued import DEFECTS


def test_what_the_first_certificate_lacks_stays_to_be_seen(make_bench: Benches) -> None:
    bench = make_bench(real_time=True)
    bench.ca.make = DEFECTS["a key usage fewer"].make
    assert bench.run().result is Result.ENROLLED
    assert "web: the certificate lacks key_encipherment, which was requested" in bench.command("status").stdout
    checked = bench.command("check", "--offline")
    assert checked.returncode == 0
    assert "lacks key_encipherment, which is configured" in " ".join(checked.stdout.split())


@pytest.mark.needs("softhsm")
def test_check_says_that_a_token_s_key_is_not_tried_out(make_bench: Benches) -> None:
    bench = make_bench("pkcs11", real_time=True)
    assert bench.run().result is Result.ENROLLED
    words = " ".join(bench.command("check", "--offline").stdout.split())
    assert "cannot be tried out with TLS before the swap: its key cannot leave the token" in words
