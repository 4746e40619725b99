"""The cryptography that a renewal cannot do without, and nothing else: what certagent's own cost is measured against.

python bench/floor.py rsa|kept|ec COUNT        prints ms of CPU for each renewal

The key, the CSR, the signed and enveloped message, the opened answer, its signature, the path to the CA, one trial of
the pair by OpenSSL. What the CA does is not counted. `ec`: one RSA transport key for all of them.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from certagent import keys
from certagent.config.key_types import KeyType
from certagent.trust.fitness import CLIENT, SERVER
from certagent.trust.proof import prove
from certagent.trust.proof_of_use import prove_use

NOW = datetime.now(UTC).replace(microsecond=0)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "device")])
CA_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "CA")])
SHA256 = hashes.SHA256()


def issued(key: keys.PublicKey, ca: rsa.RSAPrivateKey, name: x509.Name, *, is_ca: bool) -> x509.Certificate:
    made = x509.CertificateBuilder(CA_NAME, name, key, x509.random_serial_number())
    made = made.not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=90))
    made = made.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    return made.sign(ca, SHA256)


class Floor:
    def __init__(self, kind: str) -> None:
        self.type = KeyType.EC_P256 if kind == "ec" else KeyType.RSA_2048
        self.kept = keys.generate(self.type) if kind == "kept" else None
        self.ca = rsa.generate_private_key(65537, 2048)
        self.anchor = issued(self.ca.public_key(), self.ca, CA_NAME, is_ca=True)
        self.signer = rsa.generate_private_key(65537, 2048)  # the key in place, or the transport key

    def renew(self) -> float:
        """ms of CPU of one, the CA's part apart."""
        started = time.process_time()
        key = self.kept or keys.generate(self.type)
        csr = x509.CertificateSigningRequestBuilder(NAME).sign(key, SHA256)
        session, iv = os.urandom(16), os.urandom(16)
        envelope = self._cipher(session, iv, csr.public_bytes(serialization.Encoding.DER))
        self.anchor.public_key().encrypt(session, padding.PKCS1v15())  # type: ignore[union-attr]  # an RSA key, see above
        self.signer.sign(envelope, padding.PKCS1v15(), SHA256)
        asked = time.process_time()
        certificate = issued(key.public_key(), self.ca, NAME, is_ca=False).public_bytes(serialization.Encoding.DER)
        locked = self.signer.public_key().encrypt(session, padding.PKCS1v15())
        answer, signature = (
            self._cipher(session, iv, certificate),
            self.ca.sign(certificate, padding.PKCS1v15(), SHA256),
        )
        answered = time.process_time()
        self._cipher(self.signer.decrypt(locked, padding.PKCS1v15()), iv, answer)
        self.ca.public_key().verify(signature, certificate, padding.PKCS1v15(), SHA256)
        successor = x509.load_der_x509_certificate(certificate)
        prove(successor, (), (self.anchor,), NOW)
        prove_use(key, successor, (self.anchor,), roles=(CLIENT, SERVER), at=NOW)
        keys.to_pem(key)
        return (time.process_time() - answered + asked - started) * 1000

    @staticmethod
    def _cipher(session: bytes, iv: bytes, content: bytes) -> bytes:
        padded = content + b"\x10" * (16 - len(content) % 16)
        encryptor = Cipher(algorithms.AES(session), modes.CBC(iv)).encryptor()
        return encryptor.update(padded) + encryptor.finalize()


def main() -> int:
    kind, count = sys.argv[1], int(sys.argv[2])
    floor = Floor(kind)
    print(sum(floor.renew() for _ in range(count)) / count)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
