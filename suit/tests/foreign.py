"""Envelopes in another language: made by taylor-suit, and checked with what the standards say and no code of ours.

    foreign.py make KEY.pem MANIFEST.json     prints an envelope that taylor signs, in hexadecimal
    foreign.py check PUBLIC.pem ENVELOPE      prints the sequence number when digest and signature are right
"""

import hashlib
import sys


def item(data, at):
    """One item of CBOR (RFC 8949) and where the next begins."""
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        value = info
    else:
        length = {24: 1, 25: 2, 26: 4, 27: 8}[info]
        value, at = int.from_bytes(data[at : at + length], "big"), at + length
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major in (2, 3):
        raw = data[at : at + value]
        assert len(raw) == value, "cut off"
        return (bytes(raw) if major == 2 else raw.decode()), at + value
    if major == 4:
        items = []
        for _ in range(value):
            one, at = item(data, at)
            items.append(one)
        return items, at
    if major == 5:
        pairs = {}
        for _ in range(value):
            key, at = item(data, at)
            assert key not in pairs, "a key twice"
            pairs[key], at = item(data, at)
        return pairs, at
    if major == 6:
        inner, at = item(data, at)
        return (value, inner), at
    assert (major, value) == (7, 22), "null is the only simple value here"
    return None, at


def whole(data):
    value, end = item(data, 0)
    assert end == len(data), "bytes after the end"
    return value


def string(data):
    """The head of a byte string, and its bytes."""
    length = len(data)
    if length < 24:
        return bytes([0x40 | length]) + data
    if length < 256:
        return bytes([0x58, length]) + data
    return bytes([0x59]) + length.to_bytes(2, "big") + data


def check(public, envelope):
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    tag, members = whole(envelope)
    assert tag == 107, "no envelope"
    digest, *blocks = whole(members[2])
    algorithm, expected = whole(digest)
    assert algorithm == -16 and hashlib.sha256(string(members[3])).digest() == expected, "another digest"
    key = serialization.load_pem_public_key(public)
    for block in blocks:
        tag, (protected, _, payload, signature) = whole(block)
        assert tag == 18 and whole(protected) == {1: -7} and payload is None
        signed = b"\x84\x6aSignature1" + string(protected) + b"\x40" + string(digest)
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    assert blocks, "no signature"
    manifest = whole(members[3])
    assert manifest[1] == 1
    print(manifest[2])


def main():
    what, key, path = sys.argv[1:]
    if what == "make":
        import taylor

        with open(path, encoding="utf-8") as file:
            print(taylor.build_envelope(file.read(), key_path=key).hex())
    else:
        with open(key, "rb") as public, open(path, "rb") as envelope:
            check(public.read(), envelope.read())


main()
