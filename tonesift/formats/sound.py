"""Sound files: whatever libsndfile reads; WAV files also where their header says less or more than they hold."""

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile
from numpy.typing import NDArray

from tonesift.atomic import replacing
from tonesift.errors import InputError
from tonesift.formats import riff
from tonesift.formats.arrays import sample_by_sample
from tonesift.formats.base import CHUNK, Form, Selection, Source, Write

WAV = (".wav", ".wave", ".rf64", ".bwf")
SUFFIXES = (*WAV, ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64")
WAV_BYTES = 2**32 - 4096  # a WAV file's sizes are 32-bit numbers
CUT = re.compile(
    r".*\(should be .*|.*lacks an end-of-stream bit.*|.*Chunk size .* > file length.*"
)  # in libsndfile's log
UNTOLD = 2**62  # frames beyond this mean that the file does not tell


@contextmanager
def read(path: Path, selection: Selection) -> Iterator[Source]:
    """Open a sound file."""
    if not path.stat().st_size:
        raise InputError(f"{path}: an empty file")
    try:
        wave = riff.examined(path)
        fault = _fault(path, wave) if wave else ""
        with _sound(path, wave if wave and (fault or wave.announced is None) else None) as file:
            channel = _channel(path, file.channels, selection.column)
            source = Source(str(path), iter(()), rate=float(file.samplerate))
            source.samples = file.frames if 0 <= file.frames < UNTOLD else None
            source.faults += [fault] if fault else []
            if wave is None and (told := CUT.search(file.extra_info)):
                source.faults.append(f"its header and its length differ ({told.group().strip()}): it is cut")
            source.chunks = _samples(source, file, channel)
            yield source
    except soundfile.LibsndfileError as error:
        kind = "a WAV file" if path.suffix.lower() in WAV else "sound"
        raise InputError(f"{path}: cannot be read as {kind} ({error.error_string})") from error


def _fault(path: Path, wave: riff.Wave) -> str:
    """How a WAV file's header and its samples differ; '' if they do not."""
    if wave.announced == wave.there or (wave.announced is None and not wave.large):
        return ""
    if wave.announced is None:  # as a recorder leaves it that never came to write the lengths
        return f"its header does not tell how long it is: all {wave.there // wave.frame} samples that follow are read"
    announced, there = wave.announced // wave.frame, wave.there // wave.frame
    fault = f"its header announces {announced} samples, but {there} are there"
    if wave.subtype is None:
        raise InputError(f"{path}: {fault}, in a compressed form: convert it to PCM first")
    return f"{fault}: all of them are read"


def _sound(path: Path, wave: riff.Wave | None) -> soundfile.SoundFile:
    if wave is None or wave.subtype is None:
        return soundfile.SoundFile(path)
    part = riff.Part(path, wave.begin, wave.there // wave.frame * wave.frame)
    return soundfile.SoundFile(
        part, format="RAW", subtype=wave.subtype, channels=wave.channels, samplerate=wave.rate, endian="LITTLE"
    )


def _samples(source: Source, file: soundfile.SoundFile, channel: int) -> Iterator[NDArray]:
    count = 0
    while len(chunk := file.read(CHUNK, dtype="float32", always_2d=True)[:, channel]):
        count += len(chunk)
        yield chunk
    if source.samples is not None and count != source.samples:
        source.faults.append(f"it announces {source.samples} samples, but {count} could be read")


def _channel(path: Path, count: int, column: str | None) -> int:
    if column is None and count == 1:
        return 0
    if column is not None and column.isdecimal() and 1 <= int(column) <= count:
        return int(column) - 1
    raise InputError(f"{path}: it has {count} channels: say which with --column, a number from 1 to {count}")


@contextmanager
def write(path: Path, form: Form) -> Iterator[Write]:
    """Write a WAV file of 32-bit float samples."""
    rate, channels = round(form.rate), len(form.names)
    if rate != form.rate or not 0 < rate < 2**31:
        raise InputError(f"{path}: a WAV file's rate is a whole number, not {form.rate:.12g} Hz: write .npy or .h5")
    frame, written = 4 * channels, 0

    def put(signals: NDArray) -> None:
        nonlocal written
        written += signals.shape[1]
        if frame * written > WAV_BYTES:
            raise InputError(f"{path}: a WAV file holds at most 4 GiB: write .npy or .h5")
        file.write(sample_by_sample(signals))

    with replacing(path) as aside, aside.open("wb") as file:
        file.write(_wav_header(rate, channels, 0))
        yield put
        file.seek(0)
        file.write(_wav_header(rate, channels, written))


def _wav_header(rate: int, channels: int, samples: int) -> bytes:
    """Header of 32-bit float samples; libsndfile would add the time of day, in a chunk that SciPy warns of."""
    size = 4 * channels * samples
    form = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 3, channels, rate, 4 * channels * rate, 4 * channels, 32, 0)
    body = b"WAVE" + form + struct.pack("<4sII4sI", b"fact", 4, samples, b"data", size)
    return struct.pack("<4sI", b"RIFF", len(body) + size) + body
