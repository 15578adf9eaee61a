"""How numbers are made, by name and version: the hash of its protocol is in every row.

To add one, append to PROTOCOLS. To change one, give it a new id: results that carry the old one must stay true.
"""

from collections.abc import Sequence

from bench.errors import unknown_name
from bench.metrics import AXES
from bench.metrics.settings import Band, EncoderSettings, GaussianSsim, SliceSsim
from bench.scoring import DEFAULT
from bench.scoring.protocol import (
    Anatomy,
    Fidelity,
    FittedLaplace,
    Protocol,
    ReleasedCodediff,
    ReleasedX2ct,
    Reprojection,
    Samples,
    Stretch,
    Turn,
    WholeArrays,
)

CODEDIFF_QUIRKS = (
    "truth is the autoencoder's reconstruction of the CT where the method stores one, so its own error is invisible "
    "and copied codes score perfectly (eval_sampler.py:58,63); l1_sample, density, coverage and projections see the CT",
    "values are stretched by each CT's own minimum and maximum instead of a window, so absolute HU are lost; what is "
    "predicted in HU is brought to its CT's scale and clipped to [0, 1] (dataloader.py:78, transforms.py:63-77)",
    "PSNR is a mean over the slices of three axes in which a slice without error counts 100 dB, so that padding and "
    "air decide it (utils/metrics.py:138-164)",
    "SSIM names the wrong channel axis: its d and h values both slice across W, its w value across H, and no value "
    "across D (utils/metrics.py:63,72,81); 7×7 uniform window, range 1",
    "the printed NLL is the mean absolute difference between the CT and one sample; it is called l1_sample here "
    "(calculate_PRDC.py:58-60,76,82)",
    "MSE × 4 and MAE × 2 are the same errors on [-1, 1], the range that most of the printed pairs of MSE and PSNR fit",
    "density and coverage are taken in batches of 8 in split order, the rest dropped, with k = 3, and averaged, so "
    "that density ends at 8/3 (calculate_PRDC.py:63-80,134)",
    "the encoder's weights are divided by uᵀWv of random u and v instead of their spectral norm, and it has no seed; "
    "seed 0 stands for one such encoder (calculate_PRDC.py:89-98)",
    "no code for projections was released; they are scored as in ct3d-1",
)
_SHARED = (
    "PSNR of slices is a mean over the slices of three axes in which a slice without error counts 100 dB "
    "(metrics_np.py:88-95,124-129)",
    "a case whose cosine similarity rounding puts above 1 is dropped from every mean (test.py:186-188)",
)
X2CT_QUIRKS = (
    "PSNR is of values × 2500 truncated to integers against a peak of 4095, which adds 4.29 dB to a peak of 2500 "
    "(test.py:172-178)",
    *_SHARED,
    "SSIM is a mean over slices of three axes with a 7×7 uniform window, not that of the volume (range 1)",
)
CCX_QUIRKS = (
    "PSNR of the volume is on [0, 1] with a peak of 4096/2500 = 1.6384, which adds 4.29 dB (test.py:314)",
    *_SHARED,
    "PSNR of slices is of values × 2500 truncated to integers against 4096, where X2CT-GAN takes 4095",
    "SSIM takes the range 1.6384, whose larger constants raise it (test.py:313)",
    "the first two axes are swapped first, so that its printed 1, 2, 3 are the slices across H, D and W",
)

PAPER_CT_QUIRKS = (
    "everything is that of paper-2023 but the truth, which is the CT for every method: the two differ in nothing else",
    "density, coverage, l1_sample and projections see the CT in paper-2023 already and are left to it",
)

RENDERED = Turn()  # images that methods which render are asked for, whatever protocol their run is first scored under
FITTED = FittedLaplace()  # for which validation cases are predicted, whatever protocol a run is first scored under
PAPER = Protocol(
    id="paper-2023",
    truth="encoded",
    distortion=ReleasedCodediff(ssim=SliceSsim(axes=("w", "w", "h"))),
    projections=WholeArrays(),
    fidelity=Fidelity(
        nearest_k=3,
        encoder=EncoderSettings(spectral_norm="random-vectors"),
        encoder_seeds=(0,),
        stretch=Stretch(),
        batch=8,
    ),
    quirks=CODEDIFF_QUIRKS,
)
PROTOCOLS: dict[str, Protocol] = {
    protocol.id: protocol
    for protocol in (
        Protocol(
            id="ct3d-1",
            truth="ct",
            distortion=WholeArrays(),
            projections=WholeArrays(),
            turn=RENDERED,
            likelihood="1-hu-bins",
            fidelity=Fidelity(),
        ),
        Protocol(
            id="ct3d-2",
            truth="ct",
            distortion=WholeArrays(),
            projections=WholeArrays(),
            turn=Turn(images=8),
            reprojection=Reprojection(),
            anatomy=Anatomy(),
            likelihood="1-hu-bins-and-share",
            laplace=FITTED,
            samples=Samples(),
            fidelity=Fidelity(),
        ),
        PAPER,
        Protocol(
            id="paper-2023-ct",
            title="paper-2023, CT as truth",
            truth="ct",
            distortion=PAPER.distortion,
            quirks=PAPER_CT_QUIRKS,
        ),
        Protocol(
            id="x2ct-2019",
            truth="ct",
            distortion=ReleasedX2ct(psnr="integers", integer_peak=4095.0),
            quirks=X2CT_QUIRKS,
        ),
        Protocol(
            id="ccx-2021",
            truth="ct",
            distortion=ReleasedX2ct(psnr="volume", integer_peak=4096.0, peak=4096 / 2500),
            quirks=CCX_QUIRKS,
        ),
    )
}
CARRIED = {  # hash of a definition as it was written down before → of today's, whose numbers are the same
    # ct3d-1, paper-2023, x2ct-2019 and ccx-2021 before settings and versions entered the hash: on one smoke run of each
    # method on each dataset all rows are equal, bit for bit, and so are those of tests/scoring/test_frozen_numbers.py
    "00f4221b9afecd260c651e05c0a8af29ea9695a32409bdbc0bf125f9e5bba621": (
        "e979df53a593d98d47719c367d8bfc31ab2ba8a9eff692a9120be5fc893f9463"
    ),
    "73d5a40140a3f122faa2888343ddd9658d1082abf18a1cda11ef361c978378a4": (
        "7e77801fc41611a70cc13ea71cc2b74bc19fb2f2d8fdc602c87839cdef79efba"
    ),
    "dbfdab5eaa214ac509f115efd0f13a74b9e40ef665af2f2eecfb99399baa6d34": (
        "b3e817c60b6e59db4a32fc96991b4a2b09939dcc0a8f981ff68b2e961ed70323"
    ),
    "9efbaa9674fadcf456156a57436e64b9f17849111474b0ebdc2c7ca0e329d2bb": (
        "4dad81ffb0046b0399cc2592ce67acbab89052782033493ba163f7724161c8fc"
    ),
}

_WINDOW = "the fixed HU window of the dataset mapped to [0, 1]; predictions are clipped to it"
_PSNR = "−10 log10(MSE / peak²)"
_OF_SLICES = " of each slice, mean over the slices of an axis, then over the three axes"
_TRUTHS = {
    "ct": "the CT",
    "encoded": "the method's own encoding of the CT where its predictions hold one, else the CT; each row says which",
}
_NLL = (
    "−log2 p(volume | views) in 1-HU bins over the window, the outer bins take the tails; per voxel and per code, mean "
    "over cases"
)
_LIKELIHOODS = {"1-hu-bins": _NLL, "1-hu-bins-and-share": f"{_NLL}; and what percent of it the codes are"}


def get_protocol(name: str = DEFAULT) -> Protocol:
    """Return the protocol called `name`. Raises UsageError, with the nearest names, when there is none."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, list(PROTOCOLS))
    return PROTOCOLS[name]


def list_definitions() -> list[Protocol]:
    """Return one protocol a definition of the numbers that all have: the first of ours, and those of others.

    The later ones of ours add numbers and leave these as they are.
    """
    ours = next(protocol for protocol in PROTOCOLS.values() if not protocol.quirks)
    return [ours, *(protocol for protocol in PROTOCOLS.values() if protocol.quirks)]


def carry_hash(protocol_hash: str) -> str:
    """Return the hash that rows of an earlier hash are shown under: today's where CARRIED proves it equal, else itself.

    For readers of rows and of run.json. Rows of a hash that is not listed stay apart: no table or test pools them.
    """
    return CARRIED.get(protocol_hash, protocol_hash)


def is_current(name: str, protocol_hash: str) -> bool:
    """Return whether rows of this name and (carried) hash were made by the protocol as this version defines it."""
    return name in PROTOCOLS and PROTOCOLS[name].sha256() == protocol_hash


def say_version(name: str, protocol_hash: str) -> str:
    """Return what stands beside numbers of this name and (carried) hash: nothing where they are of today's protocol."""
    return "" if is_current(name, protocol_hash) else "protocol as another version defines it"


def describe(protocol: Protocol) -> str:
    """Return what `bench show PROTOCOL` prints: one line a decision, all settings in it, then one a quirk."""
    values, psnr, ssim, more = _describe_distortion(protocol.distortion)
    lines = {
        "protocol": f"{protocol.id} (sha256 {protocol.sha256()[:12]})",
        "values": f"{_WINDOW}{values}",
        "truth": _TRUTHS[protocol.truth],
        "MSE, MAE": "mean over all voxels of a case, then over cases",
        "PSNR": f"{psnr}; mean over cases",
        "SSIM": f"{ssim}; mean over cases",
        "MIP": "none",
        "NLL": _LIKELIHOODS[protocol.likelihood] if protocol.likelihood else "none",
        **more,
    }
    if protocol.laplace:
        lines["Laplace"] = _describe_laplace(protocol.laplace)
    if protocol.projections:
        lines["MIP"] = (
            f"maximum along {', '.join(AXES)} of the volume, each scored as an image: "
            f"{_describe_images(protocol.projections)}; `mean` is the mean of them"
        )
    if protocol.turn:
        lines["X-ray images"] = (
            f"projections of truth and prediction at {protocol.turn.images} angles of a turn, each scored as an image: "
            f"{_describe_images(protocol.turn.scores)}; mean over those at angles not given to the method; those given "
            "are kept apart"
        )
    if protocol.samples:
        of = protocol.samples
        lines["samples"] = (
            f"mean volume and best of K, each metric for itself: {_describe_images(of.scores, 3)}; share of voxels "
            "whose CT lies from the lowest to the highest sample, of all and by class (patients: "
            f"{_describe_bands(of.patient)}; bags: {_describe_bands(of.bag)})"
        )
    if protocol.reprojection:
        lines["given views"] = (
            "PSNR of the prediction, projected at the given angles, against the views that the method was given, over "
            f"all pixels of a case; peak {protocol.reprojection.peak:g}; beside it the same of the truth itself and of "
            "the views of the split's next case"
        )
    lines |= _describe_anatomy(protocol.anatomy) if protocol.anatomy else {}
    lines |= _describe_fidelity(protocol.fidelity) if protocol.fidelity else {"density, coverage": "none"}
    lines["versions"] = ", ".join(f"{name} {version}" for name, version in protocol.versions().items())
    lines |= {f"quirk {number}": text for number, text in enumerate(protocol.quirks, start=1)}
    return "\n".join(f"{name:18} {text}" for name, text in lines.items())


def _describe_distortion(
    settings: WholeArrays | ReleasedCodediff | ReleasedX2ct,
) -> tuple[str, str, str, dict[str, str]]:
    """Return what is done to values, how PSNR and SSIM of volumes are taken, and further lines by their heads."""
    match settings:
        case WholeArrays(peak, ssim):
            psnr = f"{_PSNR} of each whole volume; peak {peak:g}; an exact match is na, not infinity"
            return "", psnr, f"{_describe_gaussian(ssim)}, 3-D; range {peak:g}", {}
        case ReleasedCodediff(ssim, peak, exact_db, stretch):
            psnr = f"{_PSNR}{_OF_SLICES}; peak {peak:g}; an exact match is {exact_db:g} dB"
            return f"; then {_describe_stretch(stretch)}", psnr, f"{_describe_slices(ssim)}; range {peak:g}", {}
        case ReleasedX2ct(kind, integer_peak, peak, steps, exact_db, ssim):
            of, top = ("of integers", integer_peak) if kind == "integers" else ("on [0, 1]", peak)
            return (
                f"; and × {steps:g} truncated to integers (mse_int, mae_int, psnr_slices)",
                f"{_PSNR} of each whole volume {of}; peak {top:g}; an exact match is {exact_db:g} dB",
                f"{_describe_slices(ssim)}; range {peak:g}",
                {"psnr_slices": f"{_PSNR} of the integers{_OF_SLICES}; peak {integer_peak:g}"},
            )


def _describe_laplace(f: FittedLaplace) -> str:
    bins, scales = (", ".join(f"{value:g}" for value in values) for values in (f.bins, f.least_scales_hu))
    return (
        "−log2 p(volume | prediction) per voxel, in the same bins, of a Laplace distribution around each predicted "
        "voxel whose location and scale depend on the predicted HU; fitted on every second of the first "
        f"{f.cases} validation cases ({f.voxels} voxels at most), the number of bins ({bins}) and the least scale "
        f"({scales} HU) chosen by the others"
    )


def _describe_images(settings: WholeArrays, dimensions: int = 2) -> str:
    return f"PSNR (peak {settings.peak:g}) and SSIM ({_describe_gaussian(settings.ssim)}, {dimensions}-D)"


def _describe_bands(bands: Sequence[Band]) -> str:
    return ", ".join(f"{band.name} [{band.low:g}, {band.high:g})" for band in bands)


def _describe_gaussian(ssim: GaussianSsim) -> str:
    constants = f"k1 {ssim.k1:g}, k2 {ssim.k2:g}"
    return f"Gaussian window σ {ssim.sigma:g}, {ssim.window} a side, population covariance, {constants}"


def _describe_slices(ssim: SliceSsim) -> str:
    first, second, third = (axis.upper() for axis in ssim.axes)
    return (
        f"{ssim.window}×{ssim.window} uniform window, sample covariance, k1 {ssim.k1:g}, k2 {ssim.k2:g}, on slices "
        f"across {first}, {second} and {third}, mean of the three"
    )


def _describe_stretch(stretch: Stretch) -> str:
    share = f"{stretch.added_hu:g} HU in {stretch.window_hu:g}"
    return f"stretched to [0, 1] by the minimum and maximum of each CT, whose distance is widened by {share}"


def _describe_anatomy(a: Anatomy) -> dict[str, str]:
    lines = {
        "PSNR in the body": f"of the voxels that are body in the truth; peak {a.peak:g}",
        "high frequencies": f"power from {a.high_from:.4g} of the Nyquist frequency, over that of the truth",
        "masks": "Dice, average symmetric surface distance (ASSD) in mm, signed volume error, and whether anything was "
        "found, of truth and prediction by the same rules; Dice and detection of what is missed are 0",
    }
    for name, subject in (("patients", a.patient), ("bags", a.bag)):
        masks = [f"body: largest part above {subject.body_above:g} HU, filled by slice across D"]
        if lung := subject.lung:
            masks.append(f"lung: two largest parts below {lung.below:g} HU in it, the second ≥ {lung.least_share:g} of")
            masks[-1] += " the first"
        if bone := subject.bone:
            masks.append(f"bone: parts above {bone.above:g} HU in it of ≥ {bone.least_ml:g} ml")
        bands = _describe_bands(subject.bands)
        lines[f"masks of {name}"] = "; ".join(masks)
        lines[f"classes, {name}"] = f"MAE and bias in HU by the truth's HU: {bands}"
    return lines


def _describe_fidelity(f: Fidelity) -> dict[str, str]:
    fewest = f.nearest_k + 2 if f.batch is None else f.batch
    extent = "the whole split at once" if f.batch is None else f"batches of {f.batch} in split order, averaged"
    norm = (
        "exact spectral norm" if f.encoder.spectral_norm == "exact" else "W / uᵀWv of random u and v in place of W / σ"
    )
    scale = f"; {_describe_stretch(f.stretch)}" if f.stretch else ""
    two, three = f.interpolation
    return {
        "density, coverage": f"{extent}, k = {f.nearest_k}; na under {fewest} cases; never ranked",
        "encoders": f"{len(f.encoder_seeds)} random (seeds {', '.join(map(str, f.encoder_seeds))}) with {norm}; "
        f"{', '.join(map(str, f.encoder.widths))} channels, then a head of {f.encoder.head_width}, "
        f"{f.encoder.head_side} a side; gates of {f.encoder.gate_side} a side, slope {f.encoder.slope:g}",
        "encoded at": f"{f.encoded_side} a side, {f.small_encoded_side} for grids under {f.small_below}; "
        f"{three} interpolation, {two} of projections{scale}",
        "baseline": f"test cases against as many training cases, {f.baseline_draws} draws (seed {f.baseline_seed})",
        "control": f"test cases against themselves blurred by a Gaussian of σ {f.blur_voxels:g} voxels of the grid, "
        f"edges continued by the {f.blur_edge} voxel",
    }
