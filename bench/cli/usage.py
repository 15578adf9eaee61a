"""Command lines that cannot be meant: refused in one line that says where help is, with exit code 2."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import product
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperOption

from bench.errors import PluginError, unknown_name
from bench.plugins.config import resolve


class Command(TyperCommand):
    """A command that refuses an option of one value given twice: keeping the last would drop what was asked for."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """As of a plain command. Raises typer.BadParameter naming the option."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for option, times in Counter(order).items():
            if times > 1 and isinstance(option, TyperOption) and not (option.multiple or option.is_flag):
                raise typer.BadParameter(f"given {times} times; separate values with commas", ctx, option)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """As of a plain command, with every bracket of its texts shown: `key=[1, 2]` is no markup."""
        paragraphs = (" ".join(part.split()) for part in (self.help or "").split("\n\n"))
        self.help, self.epilog = escape("\n\n".join(paragraphs)), escape(self.epilog or "")  # the terminal breaks lines
        for parameter in self.params:
            if text := getattr(parameter, "help", None):
                parameter.help = escape(text)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


class Application(typer.Typer):
    """An application all of whose commands are of that kind."""

    def command(self, name: str | None = None, **options: Any) -> Any:
        """As of a plain application."""
        return super().command(name, **{"cls": Command, **options})


def show_examples(command: str, examples: Iterable[str]) -> str:
    """Return what stands under the help of a command: its examples, a line each."""
    return "\n\n".join(["Examples:", *(f"$ {command} {example}".rstrip() for example in examples)])


def refused(error: typer.TyperException) -> int:
    """Say what is wrong with a command line, or all of the help where there was none; return the exit code."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if not message:  # no arguments at all: the help is on standard output already
        return error.exit_code
    hint = f" See `{context.command_path} --help`." if context else ""
    print(f"bench: {message}{'' if message[-1] in '.?!' else '.'}{hint}", file=sys.stderr)
    return error.exit_code


def check_choices(
    methods: Sequence[str],
    datasets: Sequence[str],
    presets: Sequence[str],
    protocol: str | None = None,
    settings: Iterable[Sequence[str]] = (),
) -> None:
    """Raise UsageError for a name that does not exist or a setting that is refused, before PyTorch is imported.

    Each of `settings`, a list of key=value, is tried on every combination. What exists and is broken is passed over:
    its own run says so, and the others go on.
    """
    from bench.plugins.registry import get_dataset, get_method
    from bench.scoring.protocols import get_protocol

    if protocol is not None:
        get_protocol(protocol)
    plugins, specs = [], []
    for name in methods:
        with suppress(PluginError):
            plugins.append(get_method(name))
    for name in datasets:
        with suppress(PluginError):
            specs.append(get_dataset(name))
    for spec, preset in product(specs, presets):
        if preset not in spec.presets:
            raise unknown_name("preset", preset, list(spec.presets))
    for plugin, spec, preset, overrides in product(plugins, specs, presets, settings):
        with suppress(PluginError):
            resolve(plugin, spec, preset, overrides)
