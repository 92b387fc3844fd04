"""A certificate authority of one's own, made at run time; nothing on disk, nothing that could leak."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def certificate(names: tuple[str, ...]) -> tuple[str, str]:
    """A CA as PEM, and a certificate of it for `names` with its key as PEM; for a day."""
    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority for tests")])

    def begin(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        began, ends = now - timedelta(hours=1), now + timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        return builder.serial_number(x509.random_serial_number()).not_valid_before(began).not_valid_after(ends)

    authority = begin(ca_name, ca_key.public_key()).add_extension(x509.BasicConstraints(True, None), critical=True)
    leaf = begin(x509.Name([]), key.public_key()).add_extension(
        x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=True
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    ca, signed = (one.sign(ca_key, hashes.SHA256()).public_bytes(pem).decode() for one in (authority, leaf))
    return ca, signed + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode()


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
