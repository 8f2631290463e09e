"""What an app's noise leaves of its answers, as `flame app check` shows it."""

import math

from rich.table import Table

from flame_fl.cli.console import escaped, stdout
from flame_fl.contract.terms import Terms
from flame_fl.contract.vetted_terms import DpSgd, output_arrays
from flame_fl.privacy.usefulness import UNUSABLE, of_sums, of_updates


def signal_to_noise(terms: Terms) -> dict[str, tuple[int, float]]:
    """Message type → (numbers that carry noise, predicted signal to noise over min_sites sites); {} without noise."""
    privacy, sites = terms.privacy, terms.federation.min_sites
    noise = privacy.noise_multiplier
    if not privacy.claims or noise is None:
        return {}
    found: dict[str, tuple[int, float]] = {}
    for kind, message in terms.messages.items():
        if privacy.mechanism == "discrete-gaussian":
            size = sum(math.prod(rule.exact_shape or ()) for rule in message.arrays)
            size += sum(metric.kind != "count" for metric in message.metrics) + privacy.adaptive_clip
            found[kind] = size, of_updates(noise, size, blocks=privacy.blocks or 1, sites=sites)
        elif (work := terms.vetted.get(kind)) is not None:
            size = sum(math.prod(shape) for _, shape in output_arrays(work).values())
            batch, steps = float(min((s.min_patients for s in terms.data.values()), default=1)), 1
            if isinstance(work, DpSgd):
                batch, steps = work.expected_patients * (privacy.sample_rate or 1.0), privacy.steps or 1
            found[kind] = size, of_sums(noise, size, batch, steps=steps, sites=sites)
    return found


def print_usefulness(terms: Terms) -> None:
    """The table, and what it means."""
    found = signal_to_noise(terms)
    if not found:
        return
    sites = terms.federation.min_sites
    table = Table(title=f"What the noise leaves, at best, over {sites} DIZ (min_sites)", title_justify="left")
    for column in ("message", "numbers with noise", "signal to noise", ""):
        table.add_column(column)
    for kind, (size, ratio) in found.items():
        verdict = "[red]unusable[/]" if ratio < UNUSABLE else "usable"
        table.add_row(escaped(kind), str(size), f"{ratio:.3g}", verdict)
    stdout.print(table)
    if any(ratio < UNUSABLE for _, ratio in found.values()):
        stdout.print(
            "Unusable: the noise is longer than any signal can be. Fewer numbers, more blocks (unit patient), fewer"
            " messages or a larger epsilon help; a first use of blocks is a release or a few of 50 numbers or less.",
            highlight=False,
        )
