"""`bench doctor`: is this machine ready?"""

import os
import shutil
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Column, Table

from bench.card import MethodPlugin
from bench.data.sources import choose_source
from bench.data.store import data_root
from bench.errors import PluginError
from bench.plugins.registry import discover_datasets, discover_methods
from bench.system.files import free_bytes
from bench.system.provenance import software


def doctor() -> None:
    """Check versions, devices, memory, disk, prepared data and plug-ins; exit with 1 when something is broken."""
    import torch

    from bench.system.device import hardware

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    facts = {**software(), **hardware(device)}
    datasets, broken_datasets = discover_datasets()
    methods, broken_methods = discover_methods()
    problems = [f"{name} cannot be imported: {why}" for name, why in {**broken_methods, **broken_datasets}.items()]
    problems += _import_problems(methods.values())
    root = data_root()
    free = free_bytes(root) / 2**30
    table = Table("what", Column("here", overflow="fold"), title="bench doctor", title_justify="left")
    table.add_row("version", facts["code_version"])
    table.add_row("python", f"{facts['python']} on {facts['platform']}")
    for name, version in facts["packages"].items():
        table.add_row(name, version)
    table.add_row("device", f"{facts['device']} ({device.type}), {facts['cpu_threads']} CPU threads")
    whole, unused = (os.sysconf(n) * os.sysconf("SC_PAGE_SIZE") / 2**30 for n in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    table.add_row("memory", f"{whole:.0f} GiB, {unused:.0f} GiB of it unused")
    table.add_row("same seed, same numbers", _describe_repeatability(device.type))
    table.add_row("data folder", f"{root} ({free:.0f} GiB free)")
    for name, spec in sorted(datasets.items()):
        table.add_row(f"data: {name}", choose_source(spec, "auto")[1])
    table.add_row("methods, plug-ins too", ", ".join(sorted(methods)))
    for package, purpose in {
        "SimpleITK": "read DICOM (extra data)",
        "pydicom": "read DICOM (extra data)",
        "tensorboard": "log training curves (extra tracking)",
    }.items():
        table.add_row(purpose, f"{package} {'present' if find_spec(package) else 'absent'}")
    oracle = shutil.which("plastimatch", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    table.add_row("compare the projector (extra drr)", f"plastimatch {'present' if oracle else 'absent'}")
    console = Console()
    console.print(table)
    for problem in problems:
        console.print(f"problem: {problem}", markup=False)
    if problems:
        raise typer.Exit(1)
    console.print("all well")


def _describe_repeatability(device: str) -> str:
    """Return what two runs of one seed have in common here."""
    import torch

    cpu = (
        f"on the CPU equal bit for bit at one number of threads ({torch.get_num_threads()} here), processor model and "
        "version of PyTorch; with other threads sums are ordered otherwise and the last digits differ"
    )
    if device == "cpu":
        return f"{cpu}. On CUDA never quite: kernels that add atomically (backward of interpolation, indexing, pooling)"
    return (
        "on CUDA equal within noise, not bit for bit: kernels that add atomically (backward of interpolation, "
        f"indexing, pooling) add in any order; use --device cpu for equal bits. {cpu[0].upper()}{cpu[1:]}"
    )


def _import_problems(plugins: Iterable[MethodPlugin]) -> list[str]:
    """Return what cannot be imported of the networks of methods and of what PyTorch's packages take along."""
    problems = []
    for plugin in plugins:
        try:
            plugin.load()
        except PluginError as error:
            problems.append(str(error))
    if find_spec("torchvision") is not None:
        try:
            import torchvision  # noqa: F401
        except Exception as error:
            problems.append(f"torchvision is installed but cannot be imported ({error}); uninstall it")
    return problems
