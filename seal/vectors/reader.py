#!/usr/bin/env python3
"""Opens and seals what `muster open` and `muster-edge` do, written from docs/end-to-end.md and RFC 9180 alone.

Needs Python 3.9 and `cryptography`; HPKE and CBOR are spelled out here on purpose, so that this is another implementation
of them and can be read as one.

    reader.py open KEY.pem TENANT TOPIC < payload > plaintext
    reader.py seal KEY.pub.pem TENANT TOPIC [--pad] < plaintext > payload
"""

import hashlib
import hmac
import os
import sys

from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

A256GCM, PADDED = 3, -65537
# COSE algorithm: KEM, AEAD (RFC 9180 §7), what opens with it.
SUITES = {53: (0x0010, 0x0002, AESGCM), 50: (0x0020, 0x0003, ChaCha20Poly1305)}


# CBOR (RFC 8949), as far as it is needed.
def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    for size, info in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if n < 1 << (8 * size):
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")


def cbor(item):
    if item is True:
        return b"\xf5"
    if isinstance(item, int):
        return head(0, item) if item >= 0 else head(1, -1 - item)
    if isinstance(item, bytes):
        return head(2, len(item)) + item
    if isinstance(item, str):
        return head(3, len(item.encode())) + item.encode()
    if isinstance(item, list):
        return head(4, len(item)) + b"".join(map(cbor, item))
    return head(5, len(item)) + b"".join(cbor(k) + cbor(v) for k, v in item.items())


def read(data, at=0):
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7 and info == 21:
        return True, at
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(info, 0)
    n = int.from_bytes(data[at : at + size], "big") if size else info
    at += size
    if major < 2:
        return (n if major == 0 else -1 - n), at
    if major < 4:
        part = data[at : at + n]
        return (part if major == 2 else part.decode()), at + n
    parts = []
    for _ in range(n * (2 if major == 5 else 1)):
        part, at = read(data, at)
        parts.append(part)
    return (dict(zip(parts[::2], parts[1::2])) if major == 5 else parts), at


# HPKE, base mode, one message (RFC 9180 §4, §5.1).
def extract(suite, salt, label, ikm):
    return hmac.new(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, hashlib.sha256).digest()


def expand(suite, prk, label, info, length):
    info, out, block, i = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([i]), hashlib.sha256).digest()
        out, i = out + block, i + 1
    return out[:length]


def cipher(kem, aead, make, dh, kem_context, info):
    suite = b"KEM" + kem.to_bytes(2, "big")
    secret = expand(suite, extract(suite, b"", b"eae_prk", dh), b"shared_secret", kem_context, 32)
    suite = b"HPKE" + kem.to_bytes(2, "big") + b"\0\1" + aead.to_bytes(2, "big")
    context = b"\0" + extract(suite, b"", b"psk_id_hash", b"") + extract(suite, b"", b"info_hash", info)
    key_secret = extract(suite, secret, b"secret", b"")
    return make(expand(suite, key_secret, b"key", context, 32)), expand(
        suite, key_secret, b"base_nonce", context, 12
    )


def raw(public):
    if isinstance(public, x25519.X25519PublicKey):
        return public.public_bytes_raw()
    return public.public_bytes(ser.Encoding.X962, ser.PublicFormat.UncompressedPoint)


def agree(private, other):
    if isinstance(private, x25519.X25519PrivateKey):
        return private.exchange(x25519.X25519PublicKey.from_public_bytes(other))
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), other)
    return private.exchange(ec.ECDH(), point)


def algorithm(public):
    return 50 if isinstance(public, x25519.X25519PublicKey) else 53


def key_id(public):
    spki = public.public_bytes(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()[:8]


# COSE_Encrypt (RFC 9052 §5), bound to where the message belongs.
def binding(tenant, topic):
    return cbor(["muster-sealed-1", tenant, topic.split("/")[1], topic])


def open_sealed(private, tenant, topic, payload):
    assert payload[:2] == b"\xd8\x60", "not COSE_Encrypt"
    (protected, unprotected, ciphertext, recipients), end = read(payload, 2)
    assert end == len(payload), "something comes after it"
    header, _ = read(protected)
    assert header[1] == A256GCM and set(header) in ({1}, {1, 2, PADDED}), "an unknown header"
    public = private.public_key()
    for key_protected, key_unprotected, wrapped in recipients:
        key_header, _ = read(key_protected)
        if (key_header[1], key_header[4]) == (algorithm(public), key_id(public)):
            break
    else:
        raise SystemExit("sealed to other keys")
    kem, aead, make = SUITES[key_header[1]]
    info = cbor(["HPKE Recipient", header[1], key_protected, b""])
    enc = key_unprotected[-4]
    opener, nonce = cipher(kem, aead, make, agree(private, enc), enc + raw(public), info)
    key = opener.decrypt(nonce, wrapped, b"")
    aad = cbor(["Encrypt", protected, binding(tenant, topic)])
    plaintext = AESGCM(key).decrypt(unprotected[5], ciphertext, aad)
    if PADDED in header:
        plaintext = plaintext.rstrip(b"\0")
        assert plaintext[-1:] == b"\x80", "padded wrongly"
        plaintext = plaintext[:-1]
    return plaintext


def seal(public, tenant, topic, plaintext, pad):
    protected = cbor({1: A256GCM, 2: [PADDED], PADDED: True} if pad else {1: A256GCM})
    if pad:
        plaintext += b"\x80"
        size = 64
        while size < len(plaintext):
            size = size * 2 if size < 1024 else size + 1024
        plaintext = plaintext.ljust(size, b"\0")
    key, iv = os.urandom(32), os.urandom(12)
    ciphertext = AESGCM(key).encrypt(iv, plaintext, cbor(["Encrypt", protected, binding(tenant, topic)]))
    alg = algorithm(public)
    key_protected = cbor({1: alg, 4: key_id(public)})
    kem, aead, make = SUITES[alg]
    once = x25519.X25519PrivateKey.generate() if alg == 50 else ec.generate_private_key(ec.SECP256R1())
    enc = raw(once.public_key())
    info = cbor(["HPKE Recipient", A256GCM, key_protected, b""])
    sealer, nonce = cipher(kem, aead, make, agree(once, raw(public)), enc + raw(public), info)
    recipient = [key_protected, {-4: enc}, sealer.encrypt(nonce, key, b"")]
    return b"\xd8\x60" + cbor([protected, {5: iv}, ciphertext, [recipient]])


if __name__ == "__main__":
    what, file, tenant, topic = sys.argv[1:5]
    pem, data = open(file, "rb").read(), sys.stdin.buffer.read()
    if what == "open":
        out = open_sealed(ser.load_pem_private_key(pem, None), tenant, topic, data)
    else:
        out = seal(ser.load_pem_public_key(pem), tenant, topic, data, "--pad" in sys.argv)
    sys.stdout.buffer.write(out)
