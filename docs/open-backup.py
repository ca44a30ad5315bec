#!/usr/bin/env python3
"""Opens a backup of muster without muster, by the format in docs/backup.md alone.

    open-backup.py PLACE KEY.pem [NUMBER]

PLACE is a directory, KEY.pem the private key of a recipient. Says what is in the backup, table by table, as JSON. The rows
are still sealed by the hub's own keys. Needs Debian's python3-cryptography.
"""
import hashlib, hmac, json, pathlib, sys
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

HEAD, REFERENCE, TAG = 72, 70, 16


# --- CBOR, as much of it as COSE_Encrypt has (RFC 8949).
def item(data, at):
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if low >= 24:
        size = 1 << (low - 24)
        low, at = int.from_bytes(data[at : at + size], "big"), at + size
    if major == 0:
        return low, at
    if major == 1:
        return -1 - low, at
    if major in (2, 3):
        return data[at : at + low], at + low
    if major == 6:
        return item(data, at)
    values = []
    for _ in range(low * (2 if major == 5 else 1)):
        value, at = item(data, at)
        values.append(value)
    return (dict(zip(values[::2], values[1::2])) if major == 5 else values), at


def encoded(value):
    def head(major, n):
        if n < 24:
            return bytes([major << 5 | n])
        return bytes([major << 5 | 24, n]) if n < 256 else bytes([major << 5 | 25]) + n.to_bytes(2, "big")

    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value)) + value.encode()
    return head(4, len(value)) + b"".join(map(encoded, value))


# --- HPKE, base mode, one message (RFC 9180 §4.1, §5.1).
def mac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


def hpke_open(private, enc, info, ciphertext):
    if isinstance(private, x25519.X25519PrivateKey):
        kem, aead, cipher = 0x20, 3, ChaCha20Poly1305
        shared = private.exchange(x25519.X25519PublicKey.from_public_bytes(enc))
        own = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    else:
        kem, aead, cipher = 0x10, 2, AESGCM
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), enc)
        shared = private.exchange(ec.ECDH(), peer)
        own = private.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
    two = lambda n: n.to_bytes(2, "big")
    suites = {"KEM": b"KEM" + two(kem), "HPKE": b"HPKE" + two(kem) + two(1) + two(aead)}

    def extract(suite, salt, label, text):
        return mac(salt or bytes(32), b"HPKE-v1" + suites[suite] + label + text)

    def expand(suite, key, label, text, length):
        return mac(key, two(length) + b"HPKE-v1" + suites[suite] + label + text + b"\x01")[:length]

    shared = expand("KEM", extract("KEM", b"", b"eae_prk", shared), b"shared_secret", enc + own, 32)
    context = b"\x00" + extract("HPKE", b"", b"psk_id_hash", b"") + extract("HPKE", b"", b"info_hash", info)
    secret = extract("HPKE", shared, b"secret", b"")
    key = expand("HPKE", secret, b"key", context, 32)
    nonce = expand("HPKE", secret, b"base_nonce", context, 12)
    return cipher(key).decrypt(nonce, ciphertext, b"")


def cose_open(private, message, external):
    (protected, unprotected, ciphertext, recipients), end = item(message, 0)
    assert end == len(message)
    for header, parameters, wrapped in recipients:
        info = encoded(["HPKE Recipient", 3, header, b""])
        try:
            key = hpke_open(private, parameters[-4], info, wrapped)
        except Exception:
            continue
        return AESGCM(key).decrypt(unprotected[5], ciphertext, encoded(["Encrypt", protected, external]))
    sys.exit("this key is not one of those that the backup was made for")


class Repository:
    def __init__(self, place, private):
        self.place, self.private, self.keys = pathlib.Path(place), private, {}
        self.about = json.loads((self.place / "muster-backup.json").read_text())
        assert self.about["format"] == 1

    def key(self, name):
        if name not in self.keys:
            sealed = (self.place / "keys" / f"{name.hex()}.cose").read_bytes()
            bound = b"muster/backup/key/1|" + self.about["id"].encode() + b"|" + name
            key = cose_open(self.private, sealed, bound)
            assert mac(key, b"muster/backup/key-id/1")[:16] == name, "a key has another key's name"
            self.keys[name] = key
        return self.keys[name]

    def open(self, data, kind):
        """Gives the references that stand in clear, the name, and what is sealed."""
        assert data[:10] == b"MUSTERBK\x01" + kind.encode() and data[10:16] == bytes(6)
        end, references = HEAD, []
        if kind in "IM":
            count = int.from_bytes(data[HEAD : HEAD + 4], "big")
            end = HEAD + 4 + count * REFERENCE
            for at in range(HEAD + 4, end, REFERENCE):
                r = data[at : at + REFERENCE]
                references.append(dict(kind=chr(r[0]), tag=r[2:18], id=r[18:50], key=r[50:66],
                                       bytes=int.from_bytes(r[66:70], "big")))
        nonce = bytes(4) + data[32:40]
        plain = AESGCM(self.key(data[16:32])).decrypt(nonce, data[end:], data[:end])
        return references, data[40:72], plain

    def fetch(self, r):
        name = f"{r['id'].hex()}.{r['key'].hex()}"
        folder = {"K": f"tenant-keys/{r['tag'].hex()}", "I": "index", "R": f"chunks/{name[:2]}"}[r["kind"]]
        data = (self.place / folder / name).read_bytes()
        assert len(data) == r["bytes"] and data[16:32] == r["key"] and data[40:72] == r["id"]
        return self.open(data, r["kind"])


def rows(body):
    length = int.from_bytes(body[:2], "big")
    table, at = body[2 : 2 + length].decode(), 2 + length
    while at < len(body):
        k, v = int.from_bytes(body[at : at + 4], "big"), int.from_bytes(body[at + 4 : at + 8], "big")
        at += 8
        yield table, body[at : at + k], body[at + k : at + k + v]
        at += k + v


def main():
    place, key_file, *number = sys.argv[1:]
    private = serialization.load_pem_private_key(pathlib.Path(key_file).read_bytes(), None)
    repository = Repository(place, private)
    backups = sorted((pathlib.Path(place) / "backups").glob("*.manifest"))
    wanted = [b for b in backups if not number or int(b.name.split("-")[0]) == int(number[0])]
    file = wanted[-1].read_bytes()
    signer = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(repository.about["signer"]))
    signer.verify(file[-64:], file[:-64])
    pieces, name, plain = repository.open(file[:-104], "M")
    manifest = json.loads(plain)
    told = f"{int.from_bytes(name[:8], 'big'):010}-{int.from_bytes(name[8:16], 'big')}.manifest"
    assert told == wanted[-1].name and manifest["repository"] == repository.about["id"]
    tables, files = {}, []
    for piece in pieces:
        for reference in repository.fetch(piece)[0]:
            for table, key, value in rows(repository.fetch(reference)[2]):
                count = tables.setdefault(table, [0, 0])
                count[0], count[1] = count[0] + 1, count[1] + len(key) + len(value)
                if table == "/files":
                    files.append(key.decode())
    expected = {t["name"]: [t["rows"], t["bytes"]] for t in manifest["tables"] if t["rows"]}
    assert tables == expected, (tables, expected)
    print(json.dumps({"number": manifest["number"], "node": manifest["node"], "tables": tables, "files": files,
                      "rows": sum(count[0] for count in tables.values())}))


main()
