"""Content credentials (C2PA 2.1): a signed record in the result of what was upscaled, and by which model."""

import json
import logging
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from srgan import __version__
from srgan.images.provenance import SOURCE_TYPES, source_type, system
from srgan.utils.errors import SrganError, reason

CURVES = {256: "es256", 384: "es384", 521: "es512"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Signer:
    """A private key and its certificates, both as PEM, and the name of the algorithm."""

    key: bytes
    chain: bytes
    algorithm: str


def read_signer(path: Path) -> Signer:
    """Read a PEM file with a private key and a chain of certificates, that of the key first.

    Raises:
        SrganError: the file cannot be read, lacks a part, or the certificate is not that of the key.
    """
    try:
        content = path.read_bytes()
        key = forms.load_pem_private_key(content, None)
        chain = x509.load_pem_x509_certificates(content)
    except (OSError, ValueError, TypeError) as error:  # cryptography's, for damaged, missing and encrypted parts
        why = f"{reason(error)}. It needs a private key without a password and the certificates"
        raise SrganError(f"{path}: no content credentials can be signed with it: {why}. See docs/upscale.md") from error
    plain = forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*plain) != chain[0].public_key().public_bytes(*plain):
        raise SrganError(f"{path}: the first certificate is not that of the private key. Put the certificate of the key first")
    pem = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    return Signer(pem, b"".join(one.public_bytes(forms.Encoding.PEM) for one in chain), _algorithm(path, key))


def _algorithm(path: Path, key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size in CURVES:
        return CURVES[key.curve.key_size]
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise SrganError(f"{path}: content credentials need a key of P-256, P-384, P-521, Ed25519 or RSA. Request a certificate for such a key")


def attach(path: Path, file_format: str, title: str, source: Path | BinaryIO, model: dict[str, str], digest: str, signer: Signer) -> None:
    """Sign a finished image. Its file is replaced.

    The image that was upscaled is the parent ingredient, with its own credentials if it has some.

    Args:
        path: the image, of a temporary name.
        file_format: a value of `srgan.images.suffixes.FORMATS`.
        title: name of the result.
        source: the image that was upscaled.
        model: the `sr.*` entries of the model.
        digest: SHA-256 of the model file.
        signer: of the user.

    Raises:
        SrganError: the certificate does not follow the rules of C2PA, or the file cannot hold credentials.
    """
    content, kind = _content(source)
    edited = {
        "action": "c2pa.edited" if kind else "c2pa.created",  # a manifest begins with a parent or with a creation
        "softwareAgent": {"name": system(model), "version": model.get("sr.tool_version", __version__)},
        "digitalSourceType": SOURCE_TYPES + source_type(model),
        "parameters": {"description": f"upscaled by the model with SHA-256 {digest}"},
    }
    manifest = {
        "claim_generator_info": [{"name": "srgan", "version": __version__}],
        "title": title,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [edited]}}],
    }
    signed = BytesIO()
    try:
        with c2pa.Builder(manifest) as builder:
            if kind:
                builder.set_intent(c2pa.C2paBuilderIntent.EDIT)  # adds the action `c2pa.opened` with the parent
                named = {"title": Path(getattr(source, "name", "image")).name, "relationship": "parentOf"}
                builder.add_ingredient(json.dumps(named), f"image/{kind}", BytesIO(content))
            else:
                log.warning("%s: the format of the source cannot be an ingredient of content credentials. They name the model only", title)
            info = c2pa.C2paSignerInfo(signer.algorithm.encode(), signer.chain, signer.key, None)
            with c2pa.Signer.from_info(info) as by, path.open("rb") as unsigned:
                builder.sign(by, f"image/{file_format}", unsigned, signed)
    except c2pa.C2paError as error:
        advice = "The certificate needs the key usage digitalSignature and the extended key usage emailProtection, from a CA"
        raise SrganError(f"{title}: no content credentials could be written: {reason(error)}. {advice}") from error
    path.write_bytes(signed.getbuffer())


def _content(source: Path | BinaryIO) -> tuple[bytes, str]:
    """Return the bytes of the source, and its format if it can be an ingredient."""
    if isinstance(source, Path):
        content = source.read_bytes()
    else:
        source.seek(0)
        content = source.read()
    kinds = {
        "png": content.startswith(b"\x89PNG\r\n\x1a\n"),
        "jpeg": content.startswith(b"\xff\xd8\xff"),
        "webp": content[:4] + content[8:12] == b"RIFFWEBP",
        "tiff": content.startswith((b"II*\0", b"MM\0*")),
        "avif": content[4:12] == b"ftypavif",
        "gif": content.startswith((b"GIF87a", b"GIF89a")),
    }
    return content, next((kind for kind, found in kinds.items() if found), "")
