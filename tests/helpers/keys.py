"""Keys for signatures."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec


def write_keys(folder: Path, password: bytes = b"") -> tuple[Path, Path]:
    """Write ``private.pem`` and ``public.pem`` of the curve P-256."""
    private, public = folder / "private.pem", folder / "public.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = forms.BestAvailableEncryption(password) if password else forms.NoEncryption()
    private.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, encryption))
    public.write_bytes(key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo))
    return private, public
