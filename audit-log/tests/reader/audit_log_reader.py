#!/usr/bin/python3
"""A second reader of the log, written from FORMAT.md alone, to show that the page suffices.

    audit_log_reader.py verify --log DIR/audit [--keys DIR/keys] [--vkey FILE] [--checkpoint FILE]
    audit_log_reader.py dump   --log DIR/audit  --keys DIR/keys

`verify` exits 0 when the log is whole, 1 when it was tampered with (the place is on standard error), 3 when it
ends in a torn tail, 2 for wrong usage, wrong keys, a newer format. Without epoch keys only structure, tree and chain
are checked; without a verifier key no signatures. `dump` verifies too and prints each entry as one JSON line.
Needs Python 3.9 and python3-cryptography.
"""
import argparse
import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import sys
import time

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HEADER, SECTOR, FRAME_MAX = 2048, 512, 1 << 20
SEGMENT = re.compile(r"segment-(\d{8})\.log")


class Tampered(Exception):
    """The log is not what was written; the message names the place."""


class Unusable(Exception):
    """Wrong keys, wrong usage, a newer format: says nothing about the log."""


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def expand(prk, info, length, algorithm="sha256"):
    """HKDF-Expand, RFC 5869 §2.3."""
    block = okm = b""
    while len(okm) < length:
        block = hmac.digest(prk, block + info + bytes([len(okm) // hashlib.new(algorithm).digest_size + 1]), algorithm)
        okm += block
    return okm[:length]


def rfc3339(ms):
    """Milliseconds since 1970 as RFC 3339; also before 1970, which `datetime` refuses on some platforms."""
    days, rest = divmod(ms, 86_400_000)
    era, doe = divmod(days + 719_468, 146_097)  # civil-from-days; eras of 400 years from 0000-03-01
    yoe = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    year, day = yoe + era * 400 + (month <= 2), doy - (153 * mp + 2) // 5 + 1
    seconds, millis = divmod(rest, 1000)
    return "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ" % (
        year, month, day, seconds // 3600, seconds // 60 % 60, seconds % 60, millis)


class Cursor:
    """Takes fields off the front of bytes; running out is the caller's `ValueError`."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise ValueError("cut short")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def end(self):
        if self.at != len(self.data):
            raise ValueError("bytes left over")


# --- §5: tree, checkpoint, verifier key ------------------------------------------------------------------------

class Tree:
    """RFC 6962 tree as its peaks, largest first."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def append(self, leaf):
        node, size = sha256(b"\0", leaf), self.size
        while size & 1:
            node, size = sha256(b"\1", self.peaks.pop(), node), size >> 1
        self.peaks.append(node)
        self.size += 1

    def root(self):
        if not self.peaks:
            return sha256(b"")
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = sha256(b"\1", peak, root)
        return root


class Note:
    """A checkpoint in a signed note; `ValueError` when it is not in canonical form."""

    def __init__(self, raw):
        self.raw, text = raw, raw.decode("utf-8")
        body, gap, signatures = text.partition("\n\n")
        lines = body.split("\n")
        if not gap or len(lines) != 3 or not re.fullmatch(r"0|[1-9][0-9]{0,19}", lines[1]):
            raise ValueError("not a checkpoint")
        self.body, self.origin, self.size, self.root = (body + "\n").encode(), lines[0], int(lines[1]), b64(lines[2])
        if not re.fullmatch(r"[!-*,-~]{1,255}", self.origin) or len(self.root) != 32 or not signatures.endswith("\n"):
            raise ValueError("not a checkpoint")
        self.signatures = []  # (name, key id, signature)
        for line in signatures[:-1].split("\n"):
            parts = line.split(" ")
            if len(parts) != 3 or parts[0] != "\u2014" or len(b64(parts[2])) < 5:
                raise ValueError("not a signature line")
            self.signatures.append((parts[1], b64(parts[2])[:4], b64(parts[2])[4:]))


def b64(text):
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("base64 not canonical")
    return raw


class VerifierKey:
    def __init__(self, text):
        match = re.fullmatch(r"([!-*,-~]{1,255})\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)\n?", text)
        if not match or len(b64(match[3])) != 33 or b64(match[3])[0] != 1:
            raise Unusable("not an Ed25519 verifier key: `%s`" % text.strip())
        self.origin, self.public = match[1], b64(match[3])[1:]
        self.id = sha256(self.origin.encode(), b"\n\1", self.public)[:4]
        if self.id.hex() != match[2]:
            raise Unusable("verifier key `%s` does not match its own id" % text.strip())

    def check(self, note):
        """Raises `Unusable` when the note was signed by another key, `InvalidSignature` when it was altered."""
        ours = [s for name, key_id, s in note.signatures if name == self.origin == note.origin and key_id == self.id]
        if not ours:
            raise Unusable("wrong verifier key: `%s+%s` has not signed the checkpoint of `%s` at size %d"
                           % (self.origin, self.id.hex(), note.origin, note.size))
        Ed25519PublicKey.from_public_bytes(self.public).verify(ours[0], note.body)


# --- §1, §7: keys ----------------------------------------------------------------------------------------------

class Keys:
    """The keys directory: `epochs` by number, `subjects` by key id, the verifier key."""

    def __init__(self, directory):
        self.epochs, self.subjects, self.verifier, self.log_id, seed = {}, {}, None, None, None
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            if match := re.fullmatch(r"epoch-(\d{8})\.key", name):
                self.epochs[int(match[1])] = read_bytes(path, 32)
            elif name == "log.vkey":
                self.verifier = VerifierKey(read_bytes(path).decode("utf-8", "replace"))
            elif name == "log.id":
                self.log_id = bytes.fromhex(read_bytes(path, 33).decode("ascii").rstrip("\n"))
            elif name == "signing.key":
                seed = read_bytes(path, 32)
        if not self.epochs and not self.verifier:
            raise Unusable("no keys in `%s`" % directory)
        if self.verifier and seed:
            public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(
                serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            if public != self.verifier.public:
                raise Unusable("`log.vkey` does not belong to `signing.key`")
        path = os.path.join(directory, "subjects")
        if self.epochs and os.path.exists(path):
            self.read_subjects(read_bytes(path))

    def read_subjects(self, raw):
        if len(raw) >= 16 and raw[:8] == b"ALOGSUBJ" and raw[8:10] != b"\0\0":
            raise Unusable("`subjects` is of format version %d" % int.from_bytes(raw[8:10], "big"))
        if raw[:SECTOR] != b"ALOGSUBJ" + bytes(SECTOR - 8):
            raise Unusable("`subjects` has no valid header")
        at = SECTOR
        while at < len(raw):
            found = self.batch(raw, at)
            if found is None:  # the last batch, torn: no leaf uses its keys
                if any(self.later(raw, place) for place in range(at + SECTOR, len(raw), SECTOR)):
                    raise Unusable("a batch of `subjects` before the last one is missing or incomplete")
                return
            plain, at = found
            batch = Cursor(plain)
            try:
                while batch.at < len(batch.data):
                    key_id, key = batch.take(8), batch.take(32)
                    batch.take(batch.number(2))
                    self.subjects[key_id] = key
            except ValueError:
                raise Unusable("a batch of `subjects` is malformed") from None

    def batch(self, raw, at):
        """The plaintext of a batch and where it ends; None when it is torn, `Unusable` when it does not decrypt."""
        end = at + 4 + int.from_bytes(raw[at:at + 4], "big")
        padded = at + -(-(end - at) // SECTOR) * SECTOR
        if end - at < 36 or padded > len(raw) or not all(any(raw[s:s + SECTOR]) for s in range(at, padded, SECTOR)):
            return None
        epoch, nonce, sealed = raw[at + 4:at + 8], raw[at + 8:at + 20], raw[at + 20:end]
        epoch_key = self.epochs.get(int.from_bytes(epoch, "big"))
        if epoch_key is None:
            raise Unusable("epoch key %d, which wraps subject keys, is missing" % int.from_bytes(epoch, "big"))
        label = b"audit-log v0 subjects"
        key = expand(hmac.digest(b"", epoch_key, "sha512"), label, 32, "sha512")
        try:
            return AESGCM(key).decrypt(nonce, sealed, label + epoch), padded
        except InvalidTag:
            raise Unusable("a batch of `subjects` does not decrypt: altered, or wrong keys") from None

    def later(self, raw, at):
        try:
            return self.batch(raw, at)
        except Unusable:
            return None


def read_bytes(path, size=None):
    if os.path.exists(path) and not os.path.isfile(path):  # opening a pipe would wait for whoever writes to it
        raise Unusable("`%s` is not a regular file" % path)
    with open(path, "rb") as file:
        raw = file.read()
    if size is not None and len(raw) != size:
        raise Unusable("`%s` has %d bytes instead of %d" % (path, len(raw), size))
    return raw


# --- §2–§4, §6: segments, frames, leaves -----------------------------------------------------------------------

class Log:
    """One pass over the whole log. `on_entry(seq, leaf time, event)` is called for each entry when there are keys."""

    def __init__(self, directory, keys=None, verifier=None, on_entry=None):
        self.directory, self.keys, self.verifier, self.on_entry = directory, keys, verifier, on_entry
        self.tree, self.time, self.log_id, self.origin, self.note = Tree(), 0, None, None, None
        self.place, self.torn, self.wrong_keys = ("", 0, None), None, None
        self.wanted, self.roots, self.notes = set(), {0: sha256(b"")}, {}
        self.closed, self.begun, self.copied = False, None, 0

    def require(self, condition, why):
        if not condition:
            name, offset, frame = self.place
            at = "" if frame is None else ", frame %d, sequence %d" % (frame, self.tree.size)
            raise Tampered("%s, offset %d%s: %s" % (name, offset, at, why))

    def path(self, name):
        return os.path.join(self.directory, name)

    def writer_lives(self):
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(directory)

    def verify(self, minimum=None):
        derived, names = None, set(os.listdir(self.directory))
        if "checkpoint" in names:  # read before the segments: a live writer only ever moves on
            self.place = ("checkpoint", 0, None)
            try:
                derived = Note(read_bytes(self.path("checkpoint")))
            except ValueError as error:
                self.require(False, str(error))
        self.wanted = {note.size for note in (derived, minimum) if note}
        names = sorted(os.listdir(self.directory))
        numbers = [int(match[1]) for match in map(SEGMENT.fullmatch, names) if match]
        previous = None
        for number, found in enumerate(numbers):
            self.place = ("segment-%08d.log" % number, 0, None)
            self.require(number == found, "the segment is missing")
            previous = self.segment(number, number == len(numbers) - 1, previous)
        for name in names:
            if not SEGMENT.fullmatch(name) and name not in ("lock", "checkpoint") and not name.endswith(".new"):
                print("note: `%s` is not part of the log" % name, file=sys.stderr)
        if not numbers:
            self.require(not (derived or minimum or self.verifier), "the log is gone: its keys or a checkpoint name it")
        if self.note and self.verifier:
            self.place = self.note_place
            try:
                self.verifier.check(self.note)
            except InvalidSignature:
                self.require(False, "the signature of the last checkpoint does not hold")
            if self.keys and self.keys.log_id and self.keys.verifier and self.keys.verifier.public == self.verifier.public:
                self.require(self.keys.log_id == self.log_id, "another log than the one that the keys were bound to")
        if derived:
            self.contains(derived, "checkpoint")
            # It is a copy of a frame's note, so its signature can be compared even without a key.
            self.require(self.notes.get(derived.size) == derived.raw, "it is not the note of any frame")
        if minimum:
            self.contains(minimum, "the given checkpoint")
        if max(note.size if note else 0 for note in (derived, minimum)) < self.copied:
            self.place = ("checkpoint", 0, None)
            try:  # a live writer may have begun another run since it was read
                newer = Note(read_bytes(self.path("checkpoint"))).size
            except (OSError, ValueError):
                newer = 0
            self.require(newer >= self.copied, "it is missing or older than any crash leaves it")
        if self.wrong_keys:  # only now: structure and signature hold, so it is the keys that are wrong
            raise Unusable(self.wrong_keys)

    def contains(self, note, name):
        self.place = (name, 0, None)
        if self.verifier:
            try:
                self.verifier.check(note)
            except (InvalidSignature, Unusable) as error:
                if name != "checkpoint":  # not part of the log, so it says nothing about the log
                    raise Unusable("%s: %s" % (name, str(error) or "its signature does not hold")) from None
                # The last frame was signed by this key, so it is not the key that is wrong.
                self.require(not self.note, "its signature does not hold")
                raise Unusable("checkpoint: %s" % (str(error) or "its signature does not hold")) from None
        if name != "checkpoint" and self.origin not in (None, note.origin):
            raise Unusable("%s: it is of another log, `%s`" % (name, note.origin))
        self.require(self.origin in (None, note.origin), "it is of another log, `%s`" % note.origin)
        self.require(note.size <= self.tree.size,
                     "it names %d entries, the log has %d: the log was truncated" % (note.size, self.tree.size))
        self.require(self.roots[note.size] == note.root, "the log has another root at size %d" % note.size)

    def segment(self, number, last, previous):
        """Checks one segment. Returns what the next header has to name: bytes, end of frames, chain, problem there."""
        name, frame, tries, live = "segment-%08d.log" % number, 0, 0, None
        data = read_bytes(self.path(name))
        self.place = (name, 0, None)
        header, chain = self.header(data, number, previous)
        at = HEADER
        while True:
            self.place, problem = (name, at, frame), None
            try:
                if frame == 0 or any(data[at:at + SECTOR]):
                    at, chain = self.frame(data, at, number, frame, chain, header)
                    frame, tries, live = frame + 1, 0, None
                    continue
            except Tampered as error:
                problem = error
                if frame == 0:
                    raise
            if not last:
                return data, at, chain, problem
            if live is None:  # judged by bytes that were read after it was known whether somebody writes them
                live = self.writer_lives()
                data = read_bytes(self.path(name))
                continue
            try:
                self.torn = self.tail(data, at, number, frame, problem)
                if not self.torn or not live:
                    return None
            except Tampered:
                if not live or tries == 20:
                    raise
            if tries == 20:  # a frame that a live writer has not finished
                self.torn = None
                return None
            tries, live = tries + 1, None
            time.sleep(0.05)
            data = read_bytes(self.path(name))

    def header(self, data, number, previous):
        self.require(len(data) >= HEADER, "the header is cut short")
        self.require(sha256(data[:2016]) == data[2016:HEADER], "the header hash does not match")
        head = Cursor(data[:2016])
        self.require(head.take(8) == b"ALOGSEGM", "not a segment")
        version = head.number(2)
        if version != 0:
            raise Unusable("the log is of format version %d; this reader knows version 0" % version)
        suite, peaks, found, log_id = head.number(1), head.number(1), head.number(4), head.take(16)
        epoch, salt, commitment, first, root = (
            head.number(4), head.take(24), head.take(32), head.number(8), head.take(32))
        ended, remains, remains_hash, chain = head.number(8), head.number(8), head.take(32), head.take(32)
        head.number(8)  # time of creation
        self.require(suite == 0, "the cipher suite does not exist in version 0")
        self.require(found == number, "it says that it is segment %d" % found)
        self.log_id = self.log_id or log_id
        self.require(log_id == self.log_id, "it is of another log")
        self.require(first == self.tree.size and root == self.tree.root(), "it does not continue the tree")
        self.require(peaks == len(self.tree.peaks), "the number of peaks does not match")
        self.require(head.take(32 * peaks) == b"".join(self.tree.peaks), "the peaks do not match")
        self.require(not head.take(2016 - head.at).strip(b"\xff"), "the padding of the header is not 0xFF")
        if previous is None:
            self.require((ended, remains, remains_hash, chain) == (0, 0, sha256(b""), bytes(32)),
                         "the first segment names a predecessor")
        else:
            before, end, before_chain, problem = previous
            rest = before[end:end + remains]
            fits = (ended == end and len(rest) == remains and sha256(rest) == remains_hash
                    and (remains % SECTOR == 0 or end + remains == len(before)))
            if problem and not fits:
                raise problem
            self.require(fits, "it does not name the end of the segment before")
            self.require(chain == before_chain, "the chain from the segment before is broken")
            self.place = ("segment-%08d.log" % (number - 1), end + remains, None)
            self.require(not any(before[end + remains:]), "bytes after the end of the log's frames")
            self.place = ("segment-%08d.log" % number, 0, None)
        key = None
        if self.keys and self.keys.epochs and not self.wrong_keys:
            if epoch not in self.keys.epochs:
                self.wrong_keys = "epoch key %d is missing" % epoch
            else:
                prk = hmac.digest(salt, self.keys.epochs[epoch], "sha512")
                okm = expand(prk, b"audit-log v0 segment" + log_id + number.to_bytes(4, "big"), 76, "sha512")
                key = AESGCM(okm[:32]), okm[32:44]
                if okm[44:] != commitment:
                    self.wrong_keys = "epoch key %d is not the one that segment %d was written with" % (epoch, number)
        return (epoch, key), data[2016:HEADER]

    def frame_header(self, data, at, number, frame):
        """(F, entries, L, C, N) of a frame header that passes every check that needs no more than its 64 bytes."""
        self.require(at + 64 <= len(data), "the frame header is cut short")
        self.require(sha256(data[at:at + 48])[:16] == data[at + 48:at + 64], "the frame header does not match its hash")
        head = Cursor(data[at:at + 48])
        magic, size, segment, found, entries, first = (
            head.take(8), head.number(4), head.number(4), head.number(4), head.number(4), head.number(8))
        leaves, sealed, note, zero = head.number(4), head.number(4), head.number(4), head.number(4)
        self.require(magic == b"ALOGFRAM" and zero == 0, "not a frame of version 0")
        self.require(1 <= entries <= 4096 and size <= FRAME_MAX, "the frame exceeds a limit")
        self.require(size == -(-(96 + leaves + sealed + note) // SECTOR) * SECTOR, "the frame length does not match")
        self.require((segment, found, first) == (number, frame, self.tree.size), "the frame is out of order")
        return size, entries, leaves, sealed, note

    def frame(self, data, at, number, frame, chain, header):
        """Checks the frame at `at` and takes it into the tree; returns the next offset and the chain."""
        size, entries, leaves_len, sealed_len, note_len = self.frame_header(data, at, number, frame)
        self.require(at + size <= len(data), "the frame is cut short")
        body, digest = data[at:at + size - 32], data[at + size - 32:at + size]
        self.require(sha256(body) == digest, "the frame hash does not match")
        cursor = Cursor(body)
        cursor.take(64)
        epoch, key = header
        tree, when, leaves = Tree(), self.time, Cursor(cursor.take(leaves_len))
        tree.size, tree.peaks, commitments = self.tree.size, list(self.tree.peaks), []
        try:
            for index in range(entries):
                raw = leaves.take(leaves.number(2))
                leaf = self.leaf(raw, tree.size, epoch, chain if index == 0 else None)
                self.require(leaf[0] >= when, "time runs backwards")
                when = leaf[0]
                commitments.append(leaf)
                tree.append(raw)
                if tree.size in self.wanted:
                    self.roots[tree.size] = tree.root()
            leaves.end()
        except ValueError as error:
            self.require(False, "a leaf is not canonical: %s" % error)
        sealed, raw_note = cursor.take(sealed_len), cursor.take(note_len)
        self.require(not body[cursor.at:].strip(b"\xff"), "the padding is not 0xFF")
        try:
            note = Note(raw_note)
        except ValueError as error:
            self.require(False, str(error))
        self.origin = self.origin or note.origin
        self.require([name for name, *_ in note.signatures] == [note.origin], "the checkpoint has not one signature")
        self.require(len(note.signatures[0][2]) == 64, "the signature has not 64 bytes")
        self.require(note.origin == self.origin, "the checkpoint is of another log")
        self.require((note.size, note.root) == (tree.size, tree.root()), "the checkpoint does not match the tree")
        events = None
        if key and not self.wrong_keys:
            events = self.contents(key, sealed, number, frame, commitments)
        first, self.tree, self.time, self.note, self.note_place = self.tree.size, tree, when, note, self.place
        kinds = [kind for _, kind, _ in commitments]
        self.closed = kinds[-1] == "log.closed"
        if self.begun is not None:  # a run copies the checkpoint of its first frame before it writes another
            self.copied = self.begun
        self.begun = tree.size if {"log.created", "log.opened"} & set(kinds) else None
        if tree.size in self.wanted:
            self.notes[tree.size] = raw_note
        for index, event in enumerate(events or []):
            if self.on_entry:
                self.on_entry(first + index, commitments[index][0], event)
        return at + size, sha256(chain, digest)

    def leaf(self, raw, seq, epoch, chain):
        """(time, type, commitments) of a leaf."""
        leaf = Cursor(raw)
        fixed = leaf.number(1), leaf.take(16), leaf.number(8)
        self.require(fixed == (0, self.log_id, seq), "the leaf is not that of sequence %d of this log" % seq)
        when, leaf_epoch, kind = leaf.number(8), leaf.number(4), leaf.take(leaf.number(1)).decode("latin-1")
        self.require(leaf_epoch == epoch, "the leaf has another epoch than its segment")
        self.require(re.fullmatch(r"[a-z0-9._-]{1,128}", kind), "not a type")
        self.require((kind == "log.created") == (seq == 0), "the log is not begun by its first entry")
        commitments = [leaf.take(32)]
        subjects = leaf.number(1)
        self.require(subjects <= 16, "more than 16 subjects")
        commitments += [leaf.take(32) for _ in range(subjects)]
        bindings = [(leaf.number(1), leaf.take(32)) for _ in range(leaf.number(1))]
        leaf.end()
        if chain is not None:
            self.require(bindings[:1] == [(3, chain)], "the chain is broken")
        others = [tag for tag, _ in bindings[chain is not None:]]
        self.require(others == [] or (others == [2] and seq == 0), "a binding that does not belong here")
        return when, kind, commitments

    def contents(self, key, sealed, number, frame, leaves):
        """Decrypts a frame and checks all commitments; its events, or nothing when the keys turn out wrong."""
        aad = (self.log_id + number.to_bytes(4, "big") + frame.to_bytes(4, "big")
               + self.tree.size.to_bytes(8, "big"))
        nonce = (int.from_bytes(key[1], "big") ^ frame).to_bytes(12, "big")
        events = []
        try:
            plain = Cursor(key[0].decrypt(nonce, sealed, aad))
            seed = plain.take(32)
            for seq, (when, kind, commitments) in enumerate(leaves, self.tree.size):
                record = Cursor(plain.take(plain.number(4)))
                self.require(record.number(1) == len(commitments), "the record has another number of parts than its leaf")
                parts = []
                for index, commitment in enumerate(commitments):
                    prk, label = seed, b"audit-log v0 env"
                    if index > 0:
                        key_id, label = record.take(8), b"audit-log v0 sub"
                        prk = self.keys.subjects.get(key_id)
                        if prk is None:
                            self.wrong_keys = "subject key %s is missing" % key_id.hex()
                            return None
                    part = record.take(record.number(4))
                    salt = expand(prk, label + self.log_id + seq.to_bytes(8, "big"), 32)
                    self.require(hmac.compare_digest(hmac.digest(salt, part, "sha256"), commitment),
                                 "the content of sequence %d does not match its leaf" % seq)
                    parts.append(part)
                record.end()
                events.append(event(kind, parts, when))
            plain.end()
        except InvalidTag:
            self.require(False, "the ciphertext was altered")
        except ValueError as error:
            self.require(False, "the content is not canonical: %s" % error)
        return events

    def tail(self, data, end, number, frame, problem):
        """§8, the end of the last segment: None when whole, a sentence when torn, `Tampered` otherwise."""
        rest = data[end:]
        if not any(rest):
            return None
        torn = "%s, offset %d, frame %d, sequence %d: a frame that was never finished" % (*self.place, self.tree.size)
        self.require(not self.closed, "bytes after the end of a closed log")
        sectors = [rest[at:at + SECTOR] for at in range(0, len(rest), SECTOR)]
        for index, sector in enumerate(sectors[1:FRAME_MAX // SECTOR], 1):
            if (sector[:8] == b"ALOGFRAM" and sector[12:16] == number.to_bytes(4, "big")
                    and sha256(sector[:48])[:16] == sector[48:64]):
                self.place = (self.place[0], end + index * SECTOR, frame)
                self.require(False, "a frame follows on one that is missing or incomplete")
        if any(sectors[0]):
            if len(rest) < 64:
                due = {0: b"ALOGFRAM", 12: number.to_bytes(4, "big"), 16: frame.to_bytes(4, "big"),
                       24: self.tree.size.to_bytes(8, "big"), 44: bytes(4)}
                for place, field in due.items():
                    self.require(field.startswith(rest[place:place + len(field)]), "bytes that begin no frame")
                return torn
            size = self.frame_header(data, end, number, frame)[0]
            if any(rest[size:]) or (size <= len(rest) and all(map(any, sectors[:size // SECTOR]))):
                raise problem
            return torn
        for index, sector in enumerate(sectors):
            dense = sum(map(bool, sector)) * 16 >= len(sector)
            self.place = (self.place[0], end + index * SECTOR, frame)
            self.require(not any(sector) or (dense and index * SECTOR < FRAME_MAX), "bytes in the empty end of the log")
        return torn


def event(kind, parts, when):
    """§7: the event is the union of its parts; one that cannot be read so is shown as text."""
    timestamp = int.from_bytes(parts[0][:8], "big", signed=True)
    if len(parts[0]) < 8:
        raise ValueError("a record without timestamp")
    texts, in_range = [parts[0][8:]] + parts[1:], YEAR_0 <= timestamp < YEAR_10000
    whole = {"event_type": kind, "timestamp": rfc3339(timestamp if in_range else when)}
    try:
        ids, members = [], json_object(texts[0])
        for index, text in enumerate(texts[1:]):
            part = json_object(text)
            if index > 0 or "actor_id" not in part:
                if not isinstance(part.get("subject_id"), str):
                    raise ValueError("a part of nobody")
                ids.append(part.pop("subject_id"))
            if part.keys() & members.keys():
                raise ValueError("two members of one name")
            members.update(part)
        if not in_range or {"event_type", "timestamp", "subjects"} & members.keys():
            raise ValueError("not an event")
    except (ValueError, RecursionError):
        return {**whole, "malformed": [text.decode("utf-8", "replace") for text in texts]}
    return {**whole, **members, **({"subjects": ids} if ids else {})}


YEAR_0, YEAR_10000 = -62_167_219_200_000, 253_402_300_800_000


def json_object(text):
    value, depth = json.loads(text.decode("utf-8")), 0
    level = [value]
    while level := [outer for outer in level if isinstance(outer, (dict, list))]:
        depth += 1
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
    if depth > 127 or not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["verify", "dump"])
    parser.add_argument("--log", required=True, help="the log directory")
    parser.add_argument("--keys", help="the keys directory")
    parser.add_argument("--vkey", help="file with the verifier key, where the keys directory has none")
    parser.add_argument("--checkpoint", help="a signed note that the log must contain; - is standard input")
    options = parser.parse_args()
    log = None
    try:
        keys = Keys(options.keys) if options.keys else None
        verifier = VerifierKey(read_bytes(options.vkey).decode("utf-8", "replace")) if options.vkey else None
        if options.command == "dump" and not (keys and keys.epochs):
            raise Unusable("dump needs --keys with epoch keys")
        minimum = None
        if options.checkpoint:
            minimum = Note(sys.stdin.buffer.read() if options.checkpoint == "-" else read_bytes(options.checkpoint))

        def print_entry(seq, when, entry):
            print(json.dumps({"seq": seq, "recorded_at": rfc3339(when), "event": entry}))

        log = Log(options.log, keys, verifier or (keys and keys.verifier),
                  print_entry if options.command == "dump" else None)
        log.verify(minimum)
    except BrokenPipeError:  # whoever read the dump has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Tampered as problem:
        print("tampered: %s" % ascii(str(problem))[1:-1], file=sys.stderr)
        return 1
    except (Unusable, OSError, ValueError, MemoryError, RecursionError) as problem:
        print("error: %s" % ascii(str(problem))[1:-1], file=sys.stderr)
        return 2
    if options.command == "verify":
        print("%s: %d entries, root %s; contents %s, signature %s" % (
            "torn tail" if log.torn else "whole", log.tree.size, base64.b64encode(log.tree.root()).decode(),
            "checked" if keys and keys.epochs else "not checked", "checked" if log.verifier else "not checked"))
    if log.torn:
        print("torn: %s" % log.torn, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
