"""MetaImage (.mhd with .raw or .zraw, .mha; LUNA16 among them) and NRRD (.nrrd, .nhdr) files, with SimpleITK."""

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from bench.dataset import affine_from_lps
from bench.system.itk_headers import (
    HEADER_BYTES,
    data_file,
    is_nrrd,
    lacks_directions,
    lacks_spacing,
    millimetres,
    read_beginning,
)

from .names import name_of, patient_of
from .scan import Rejected, ScanError, ScanSource, Stored, check_size, inspect_each, library, printable

SUFFIXES = (".mhd", ".mha", ".nrrd", ".nhdr")
PACKED = re.compile(rb"^\s*(?:CompressedData\s*=\s*true|encoding\s*:(?!\s*raw).*)", re.IGNORECASE | re.MULTILINE)
PACKED_BYTES = re.compile(rb"^\s*CompressedDataSize\s*=\s*(\d+)", re.MULTILINE)
AXES = re.compile(rb"NDims\s*[=:]?\s*(\S*)")
META_END = re.compile(rb"^ElementDataFile\s*=", re.MULTILINE)
KEY_VALUE = re.compile(rb"#[^\r]*|[^:\r]*:=[^\r]*")  # lines of an NRRD header that may be long
LONGEST_LINE = 512  # bytes of any other; its reader's own messages overflow at 1000
LUNA16_MASKS = "seg-lungs"


def find(paths: Iterable[Path]) -> Iterator[ScanSource | Rejected]:
    """Yield every MetaImage and NRRD file among `paths`; of each only the header is looked at."""
    return inspect_each(paths, SUFFIXES, _inspect)


def _inspect(path: Path) -> ScanSource | Rejected:
    data, header = _find_data(path), _read_header(path)
    itk = library("SimpleITK")
    is_picture = header.GetPixelID() in (itk.sitkUInt8, itk.sitkInt8, itk.sitkVectorUInt8)
    if LUNA16_MASKS in path.parent.name.lower() or is_picture:
        return Rejected(path, "no CT: labels or a picture", expected=True)
    stem = name_of(path)
    files = (path,) if data == path else (path, data)
    return ScanSource(
        patient_of(stem), stem, _slices(header), "nrrd" if is_nrrd(path) else "metaimage", path, files, _read
    )


def _slices(header: Any) -> int:
    """Return the number of voxels along the axis that stands upright."""
    size, direction = header.GetSize(), np.array(header.GetDirection())
    if len(size) != 3:
        return 0
    return int(size[int(np.abs(direction.reshape(3, 3)[2]).argmax())])


def _read_header(path: Path) -> Any:
    """Return a reader that has read the header. Raises ScanError when it cannot."""
    if printable(str(path)) != str(path):
        raise ScanError("its name or that of a folder is no valid UTF-8, which its reader needs; rename it")
    _check_header(read_beginning(path), is_nrrd(path))
    itk = library("SimpleITK")
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = itk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if is_nrrd(path) else "MetaImageIO")  # or content could choose another, unchecked
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        lacking = lacks_spacing(path) or lacks_directions(path)
        what = f"it states no {lacking}; add it" if lacking else "copy it again"
        raise ScanError(f"its header cannot be read; {what}") from error
    if len(reader.GetSize()) == 3:
        _affine(path, reader)
    return reader


def _affine(path: Path, reader: Any) -> np.ndarray:
    """Return where the voxels lie: (4, 4) index → RAS millimetres. Raises ScanError for a place that cannot be."""
    try:
        affine = affine_from_lps(reader.GetDirection(), reader.GetSpacing(), reader.GetOrigin())
        return np.diag([millimetres(path)] * 3 + [1.0]) @ affine
    except ValueError as error:
        raise ScanError(f"its header cannot be read: {error}; correct it") from error


def _check_geometry(source: ScanSource) -> None:
    """Raise ScanError for geometry that neither the header nor a side file states; the reader takes 1 mm and LPS."""
    stated = source.side_file
    if not stated.spacing_mm and (lacking := lacks_spacing(source.path)):
        raise ScanError(
            f"its header states no {lacking}, so its voxel size is unknown; state spacing_mm in a side file"
        )
    if not stated.axes and (lacking := lacks_directions(source.path)):
        raise ScanError(f"its header states no {lacking}, so its orientation is unknown; state axes in a side file")


def _check_header(content: bytes, nrrd: bool) -> None:
    """Raise ScanError for a header that would end the process inside SimpleITK."""
    if nrrd:
        header, *rest = re.split(rb"\n\r?\n", content, maxsplit=1)
        lines = (line.removesuffix(b"\r") for line in header.split(b"\n"))
        sound = bool(rest) or len(content) < HEADER_BYTES
        sound &= all(len(line) <= LONGEST_LINE or KEY_VALUE.fullmatch(line) for line in lines)
    else:
        axes = AXES.findall(content)
        sound = bool(axes and META_END.search(content)) and all(re.fullmatch(rb"[1-9]", number) for number in axes)
    if not sound:
        raise ScanError("its header cannot be read; copy it again")


def _find_data(path: Path) -> Path:
    """Return the file that holds the voxels: `path` itself, or one that its header names in its folder or below."""
    text = data_file(path)
    if not text:
        return path
    if text.split()[0] == "LIST" or "%" in text:
        raise ScanError("its voxels are spread over several files; save them as one")
    pure = PureWindowsPath(text) if "\\" in text else PurePosixPath(text)
    if pure.is_absolute() or PureWindowsPath(text).drive or ".." in pure.parts:
        raise ScanError(f"its header points outside its folder, at {text}; put the data beside it and correct the name")
    data = path.parent / Path(*pure.parts)
    if not os.path.isfile(data):  # Path.is_file raises for a name that no disk can hold
        raise ScanError(f"its data file {text[:80]} is missing; copy it beside the header")
    return data


def _read(source: ScanSource) -> Stored:
    """Return the voxels with their affine, in HU unless a side file says otherwise. Raises ScanError when it cannot."""
    path, data = source.path, source.files[-1]
    reader = _read_header(path)
    size = reader.GetSize()
    if len(size) != 3 or reader.GetNumberOfComponents() != 1:
        text = " × ".join(map(str, size))
        raise ScanError(f"it holds {text} × {reader.GetNumberOfComponents()} values, not one 3-D volume")
    header = read_beginning(path)
    _check_geometry(source)
    itk = library("SimpleITK")
    item = np.dtype(itk.GetArrayViewFromImage(itk.Image([1, 1, 1], reader.GetPixelID())).dtype).itemsize
    packed = bool(PACKED.search(header))
    check_size(size, item, data.stat().st_size, compressed=packed)
    if packed and not is_nrrd(path):
        _check_packed(data, header, int(np.prod([int(n) for n in size])) * item)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise ScanError(f"the voxels in {data.name} cannot be read; copy it again") from error
    return Stored(itk.GetArrayFromImage(image).transpose(2, 1, 0), _affine(path, reader), "hu")


def _check_packed(data: Path, header: bytes, expected: int) -> None:
    """Unpack the voxels of a MetaImage once to see that they are whole; its reader does not notice."""
    stated = PACKED_BYTES.search(header)
    content = data.read_bytes()
    content = content[-int(stated.group(1)) :] if stated else content
    unpacker = zlib.decompressobj()
    try:
        length = len(unpacker.decompress(content, expected + 1))
    except zlib.error as error:
        raise ScanError(f"the compressed voxels in {data.name} are damaged; copy it again") from error
    if length != expected or not unpacker.eof:
        raise ScanError(f"the compressed voxels in {data.name} are cut short; copy it again")
