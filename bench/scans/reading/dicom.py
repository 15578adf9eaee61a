"""CT series in DICOM files, found by their tags wherever they lie, with pydicom."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import multiframe
from .multiframe import FrameFile
from .pixels import decoding_errors, syntax_of
from .scan import EMPTY, Rejected, ScanError, ScanSource, first_line, library, merge_faults
from .slices import Header, Slice, numbers, read, read_header
from .stacking import split_acquisitions

SUFFIXES = (".dcm", ".dicom", ".ima", ".dcs")
MIN_SLICES = 40
PIXEL_DATA = 0x7FE00010
DIRECTORY = "1.2.840.10008.1.3.10"  # Media Storage Directory: a list of other files, whatever its name
DIRECTORIES = ("DICOMDIR", "DIRFILE")
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture: a screen, such as a dose report
COLOURS = "no grey picture"
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # that a file without a preamble begins with
HEADER_TAGS = (  # of what Header holds, but for the transfer syntax
    0x00280010, 0x00280011, 0x00280030, 0x00200037, 0x00281053, 0x00281052, 0x00280120, 0x00280121,
    0x00280103, 0x00280100, 0x00280101, 0x00280102, 0x00282110,
)  # fmt: skip
FINDING_TAGS = [  # all that is asked of a header before a scan is read
    *HEADER_TAGS, 0x00080008, 0x00080016, 0x00080018, 0x00080032, 0x00080060, 0x00100020,
    0x0020000D, 0x0020000E, 0x00200012, 0x00200013, 0x00200032, 0x00200100, 0x00280002, 0x00280008,
]  # fmt: skip


def find(paths: Iterable[Path]) -> Iterator[ScanSource | Rejected]:
    """Yield every CT series among the files, grouped by SeriesInstanceUID whatever the folders are called.

    What is wrong with many files of a folder is said once. Raises BenchError when there are DICOM files and the
    packages to read them are missing.
    """
    series: dict[str, _Series] = {}
    yield from merge_faults((path, fault) for path in paths if (fault := _add(path, series)))
    found = [item for uid, one in series.items() for item in one.sources(uid)]
    usable = {item.patient for item in found if isinstance(item, ScanSource)}
    for item in found:
        if isinstance(item, Rejected) and item.patient:  # beside a whole series a bolus; alone a scan that lacks slices
            item = replace(item, expected=item.patient in usable)
        yield item


def _add(path: Path, series: dict[str, "_Series"]) -> str:
    """Add a file to its series, if it is of DICOM; return what is wrong with it, empty when nothing is."""
    with path.open("rb") as file:
        opening = file.read(132)
    marked, named = opening[128:132] == b"DICM", path.suffix.lower() in SUFFIXES
    if not marked and not (opening[:2] in FIRST_GROUPS and opening[3:4] == b"\0"):
        return "" if not named else "it is no DICOM file" if opening else EMPTY
    try:
        with warnings.catch_warnings(action="ignore"):  # real scanners bend the rules of value representations
            dataset, start, length = _read_tags(path)
            if not marked and "SOPClassUID" not in dataset:
                return "it is no DICOM file" if named else ""
            if str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID", "")) == DIRECTORY:
                return ""
            if uid := str(dataset.get("SeriesInstanceUID") or ""):
                series.setdefault(uid, _Series(path.parent)).add(path, dataset, start, length)
                return ""
    except ScanError as error:
        return str(error)
    except decoding_errors() as error:
        return f"its DICOM header cannot be read ({first_line(error)}); copy it again"
    return "" if path.name.upper() in DIRECTORIES else "its DICOM header names no series; copy it again"


class _Series:
    """The files of one series as they come in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # of the first file
        self.study = ""
        self.slices: dict[str, Slice] = {}  # by SOPInstanceUID: a file copied twice counts once
        self.headers: dict[tuple, Header] = {}  # by their undecoded values, as they are the same in most slices
        self.frames: dict[str, FrameFile] = {}
        self.coloured = ""  # the patient whose CT is in colours
        self.low_energy: list[Rejected] = []
        self.patients: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()  # of what is no axial CT image

    def add(self, path: Path, dataset: Any, pixels_at: int, pixel_bytes: int) -> None:
        self.study = str(dataset.get("StudyInstanceUID", ""))
        patient = str(dataset.get("PatientID", "") or "").strip(" \0")
        if kind := _other_kind(dataset):
            self.kinds[kind] += 1
            if kind == COLOURS:
                self.coloured = patient or self.study
            return
        instance = str(dataset.get("SOPInstanceUID", path))
        if multiframe.is_one(dataset):
            if "LOW ENERGY" in str(dataset.get("ImageType", "")).upper():
                text = "the low-energy image of a dual-energy scan; the high-energy one is read"
                self.low_energy.append(Rejected(path, text, expected=True))
                return
            self.frames.setdefault(instance, multiframe.inspect(path))
        else:
            syntax = syntax_of(dataset)
            raw = (syntax, *(_raw_value(dataset, tag) for tag in HEADER_TAGS))
            if raw not in self.headers:
                self.headers[raw] = read_header(dataset, syntax)
            position = numbers(dataset.get("ImagePositionPatient"))
            acquisition, number = str(dataset.get("AcquisitionNumber") or ""), int(dataset.get("InstanceNumber") or 0)
            times = tuple(str(dataset.get(name) or "") for name in ("TemporalPositionIdentifier", "AcquisitionTime"))
            piece = Slice(path, self.headers[raw], position, acquisition, number, times, pixels_at, pixel_bytes)
            self.slices.setdefault(instance, piece)
        self.patients[patient or self.study] += 1

    def sources(self, uid: str) -> Iterator[ScanSource | Rejected]:
        """Yield the volumes that the files are, or why there is none."""
        if self.kinds and not (self.slices or self.frames or self.low_energy):
            reason = f"no CT: {', '.join(self.kinds)}"
            yield Rejected(self.folder, reason, expected=True, patient=self.coloured)
        yield from self.low_energy
        if len(self.patients) > 1:
            yield Rejected(self.folder, f"one series of several patients: {', '.join(sorted(self.patients))}")
            return
        patient = next(iter(self.patients), "") or uid
        if self.frames:
            yield from multiframe.sources_of(list(self.frames.values()), patient, uid, self.study)
        if self.slices:
            yield from self._slice_sources(patient, uid)

    def _slice_sources(self, patient: str, uid: str) -> Iterator[ScanSource | Rejected]:
        volumes = _volumes(list(self.slices.values()))
        for number, pieces in enumerate(volumes, start=1):
            folder, places = pieces[0].path.parent, len({piece.position for piece in pieces})
            if places < MIN_SLICES:
                there = f"{len(pieces)} slices" if places == len(pieces) else f"{len(pieces)} slices at {places} places"
                reason = f"{there} are no chest or bag (at least {MIN_SLICES})"
                yield Rejected(folder, reason, patient=patient)
                continue
            series = uid if len(volumes) == 1 else f"{uid}/{number}"
            files = tuple(piece.path for piece in pieces)
            yield ScanSource(
                patient, series, len(pieces), "dicom", folder, files, partial(read, tuple(pieces)), study=self.study
            )


def _volumes(pieces: list[Slice]) -> list[list[Slice]]:
    """Return the slices of each volume of a series; all where some do not say where they lie."""
    if not all(len(piece.position) == 3 and len(piece.header.orientation) == 6 for piece in pieces):
        return [pieces]
    positions = np.array([piece.position for piece in pieces])
    labels = [piece.acquisition for piece in pieces]
    orientation = np.array(pieces[0].header.orientation)
    kinds = list(zip(*(piece.times for piece in pieces), strict=True))
    chosen = split_acquisitions(positions, orientation, labels, [piece.number for piece in pieces], kinds)
    return [[pieces[index] for index in indices] for indices in chosen]


def _other_kind(dataset: Any) -> str:
    """Return what a file is that is no CT image, in words; empty for a CT image."""
    modality = str(dataset.get("Modality", "none"))
    if modality != "CT":
        return f"Modality {modality}"
    if "LOCALIZER" in str(dataset.get("ImageType", "")).upper():
        return "a localiser"
    if str(dataset.get("SOPClassUID", "")).startswith(CAPTURE):
        return "a captured screen"
    return COLOURS if int(dataset.get("SamplesPerPixel") or 1) != 1 else ""


def _raw_value(dataset: Any, tag: int) -> bytes | str:
    value = dataset.get_item(tag).value if tag in dataset else b""
    return value if isinstance(value, bytes) else repr(value)


def _read_tags(path: Path) -> tuple[Any, int, int]:
    """Return FINDING_TAGS of a file, the byte where its pixels begin, and the number of their bytes, 0 for none."""
    reading = library("pydicom").filereader
    with path.open("rb") as file:
        dataset = reading.dcmread(file, stop_before_pixels=True, specific_tags=FINDING_TAGS, force=True)
        implicit, little = dataset.original_encoding
        pixels = next(reading.data_element_generator(file, implicit, little, defer_size=1), None)
    if pixels is None or pixels.tag != PIXEL_DATA:
        return dataset, 0, 0
    return dataset, pixels.value_tell, pixels.length
