"""`flame simulate`: an app, virtual nodes, one run, one folder with everything it left.

Order: bundle and manifest, run folder (resume or new), nodes and their approvals, the ServerApp, the report. A failure
or Ctrl-C still leaves a report that says so. A run killed in the middle is resumed by the same command: the ServerApp
starts again, and every gate answers the legs it had already answered with the bytes it stored, so nothing is computed,
or spent, twice.
"""

import secrets
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flame_fl.contract.canonical import sha256_hex
from flame_fl.contract.errors import FlameError, InputError
from flame_fl.contract.fab import Fab, read_fab
from flame_fl.contract.manifest import Manifest, manifest_of
from flame_fl.contract.task import Run
from flame_fl.contract.terms import Scalar
from flame_fl.flower.identity import flower_run
from flame_fl.gate.workflow import Gate
from flame_fl.privacy.discrete_gaussian import ExactNoise
from flame_fl.report.facts import NodeFacts, RunFacts
from flame_fl.report.write import write_report
from flame_fl.sandbox.scratch import unpack
from flame_fl.simulation import facts
from flame_fl.simulation.derive import derive
from flame_fl.simulation.folder import Plan, default_folder, open_folder
from flame_fl.simulation.grid import LocalGrid
from flame_fl.simulation.nodes import (
    NodePlan,
    make_sandbox,
    open_data,
    open_gates,
    patients_of,
    plan_nodes,
    worker_count,
)
from flame_fl.simulation.policy import Approve, Policy, apply, load_policy
from flame_fl.simulation.refused import EveryDizRefusedError, RefusedWithoutTermsError, with_last_words
from flame_fl.simulation.server import flower_log_to, forget_app, run_server_app
from flame_fl.simulation.settings import Outcome, Settings, Standing, Status, Watcher
from flame_fl.simulation.tally import Tally

__all__ = ["Outcome", "Settings", "Standing", "Watcher", "simulate"]


def simulate(settings: Settings, watcher: Watcher) -> Outcome:
    """Run an app against virtual nodes.

    Raises:
        InputError: Something that was given is bad; nothing was run, and nothing is left of it.
        VerificationError: The state or the folder cannot be trusted; nothing was run.
        RefusedError: No node approves; nothing was run, and every node's audit log says so.
    """
    started = datetime.now(UTC)
    derived = derive(settings.app, settings.wish)
    fab = read_fab(derived.raw_fab)
    manifest = manifest_of(fab)
    fab.component("clientapp"), fab.component("serverapp")
    policy = load_policy(settings.policy, list(settings.deny))
    plans = plan_nodes(settings.data, settings.nodes)
    _check_names(policy, plans)
    _check_terms(manifest, policy)
    _check_overrides(manifest, settings.overrides)
    wanted = settings.out or default_folder(fab.app_id, manifest.digest, settings.seed)
    with ExitStack() as closing:
        app_dir = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="flame-app-"))) / "app"
        sandbox = make_sandbox(settings.sandbox, app_dir, fab, settings.image)  # early: imports go on beside
        data = {plan.name: open_data(plan, manifest, fab.files) for plan in plans}
        folder = open_folder(wanted)
        closing.callback(folder.close)
        fresh_id = secrets.randbits(63)  # as Flower does; a run that is resumed keeps the id it began with
        run_id = folder.begin(_plan(fresh_id, manifest, settings, policy, plans)).run_id
        resumed = run_id != fresh_id
        unpack(fab, app_dir)
        closing.callback(forget_app, app_dir)
        tally = Tally()
        gates = open_gates(
            plans,
            data,
            policy,
            sandbox,
            lambda node: ExactNoise(_noise_seed(settings.noise_seed, node)),
            state=settings.state or folder.path / "nodes",
            logs=folder.path / "logs",
            views=app_dir.parent / "views",
            seed=settings.seed,
            on_event=tally.event,
            closing=closing,
        )
        folder.keep()
        watcher.begins(manifest, folder.path, resumed=resumed, left_out=derived.left_out)
        (folder.path / "logs").mkdir(exist_ok=True)
        roster = {gate.node: gate.trust().node_key for gate in gates.values()}
        for gate in gates.values():
            apply(policy, gate, manifest, roster)
        run = Run(run_id, derived.raw_fab, settings.overrides)
        standings = [_standing(gate, run) for gate in gates.values()]
        watcher.standings(standings)
        simulation = _Simulation(settings, fab, manifest, policy, run, gates, tally, watcher, folder.path, app_dir)
        needed = 1 if manifest.terms is None else manifest.terms.federation.min_sites
        if sum(not s.code for s in standings) < needed:
            refused = EveryDizRefusedError(standings, tally.details, folder.path, needed)
            simulation.report("failed", started, refused.message)
            raise refused
        return simulation.go(started)


@dataclass
class _Simulation:
    settings: Settings
    fab: Fab
    manifest: Manifest
    policy: Policy
    run: Run
    gates: dict[int, Gate]
    tally: Tally
    watcher: Watcher
    folder: Path
    app_dir: Path

    def go(self, started: datetime) -> Outcome:
        """Call the ServerApp, and leave a report whatever happens."""

        def on_batch(kind: str, done: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
            self.tally.batch(kind, done, total, metrics)
            self.watcher.progress(self.tally, done, total)

        grid = LocalGrid(
            self.run,
            flower_run(self.run.run_id, self.fab, self.settings.overrides),
            self.gates,
            worker_count(len(self.gates)) if self.settings.sandbox != "in-process" else 1,
            on_batch,
            on_round=self.tally.round,
        )
        status: Status = "failed"
        error: FlameError | None = None
        try:
            with flower_log_to(self.folder / "logs" / "server.log", also_console=self.settings.debug):
                run_server_app(
                    self.fab,
                    self.app_dir,
                    grid,
                    run_id=self.run.run_id,
                    config={**self.manifest.run_config, **self.settings.overrides},
                    seed=self.settings.seed,
                    out=self.folder,
                )
            status = "finished"
        except FlameError as err:
            error = err
            if self.tally.last_refused_by_all():
                err.mend = "Every DIZ refused its last exchange; " + (err.mend or "see the gates' details.")
        except KeyboardInterrupt:
            status, error = "interrupted", FlameError("Interrupted.", mend="The same command resumes the run.")
        finally:
            if status != "finished":
                for gate in self.gates.values():
                    gate.stop()
            grid.close(cancel=status != "finished")
        if status == "interrupted":
            return Outcome(status, self.folder, self.facts(status, started, "Ctrl-C"), error)
        for gate in self.gates.values():
            gate.end_run(self.run.run_id)
        found = self.report(status, started, str(error or ""))
        return Outcome(status, self.folder, found, error, with_last_words(self.tally.details, self.folder / "logs"))

    def report(self, status: Status, started: datetime, reason: str) -> RunFacts:
        """Write report.html and result.json; result.json marks the folder as finished."""
        found = self.facts(status, started, reason)
        if self.settings.report:
            write_report(self.folder, found)
        return found

    def facts(self, status: Status, started: datetime, reason: str) -> RunFacts:
        """Everything the gates and the tally know of the run."""
        nodes: tuple[NodeFacts, ...] = tuple(
            facts.node_facts(gate, self.manifest, self.tally) for gate in self.gates.values()
        )
        return RunFacts(
            app=self.fab.app_id,
            analysis_digest=self.manifest.digest,
            fab_sha256=self.fab.sha256,
            started=started,
            ended=datetime.now(UTC),
            status=status,
            reason=reason,
            seed=self.settings.seed,
            sandbox=self.settings.sandbox,
            policy=self.policy.approve.value,
            simulated=True,
            noise_seeded=self.settings.noise_seed is not None,
            command=self.settings.command,
            run_config=facts.plain_config({**self.manifest.run_config, **self.settings.overrides}),
            terms=facts.terms_facts(self.manifest, open_simulation=self.policy.approve is Approve.OPEN_SIMULATION),
            nodes=nodes,
            rounds=facts.round_facts(self.tally),
            versions=facts.versions(),
        )


def _standing(gate: Gate, run: Run) -> Standing:
    said = gate.status(run).content.configs["flame"]
    record = gate.store.approval(str(said["digest"]))
    patients = patients_of(gate.data, record.terms if record else None)
    code = said["code"]
    assert isinstance(code, int)  # noqa: S101  (the gate wrote it)
    return Standing(gate.node, str(said["status"]), code, record.by if record else "", patients)


def _check_names(policy: Policy, plans: tuple[NodePlan, ...]) -> None:
    if unknown := sorted(policy.deny - {p.name for p in plans}):
        raise InputError(
            f"--deny names {unknown[0]!r}, which is no node.", mend=f"Nodes: {', '.join(p.name for p in plans)}."
        )


def _check_terms(manifest: Manifest, policy: Policy) -> None:
    if manifest.terms is None and policy.approve is not Approve.OPEN_SIMULATION:
        raise RefusedWithoutTermsError(manifest.app)


def _check_overrides(manifest: Manifest, overrides: Mapping[str, Scalar]) -> None:
    if unknown := sorted(set(overrides) - set(manifest.run_config)):
        known = ", ".join(sorted(manifest.run_config)) or "none"
        raise InputError(f"The app has no run-config key {unknown[0]!r}.", mend=f"Its keys: {known}.")


def _noise_seed(seed: int | None, node: str) -> int | None:
    """Each node its own: one source for all would depend on who draws first."""
    return None if seed is None else int(sha256_hex(f"{seed}/{node}".encode()), 16)


def _plan(run_id: int, manifest: Manifest, settings: Settings, policy: Policy, plans: tuple[NodePlan, ...]) -> Plan:
    return Plan(
        run_id=run_id,
        analysis_digest=manifest.digest,
        seed=settings.seed,
        sandbox=settings.sandbox,
        policy=policy.stated,
        nodes=tuple(p.name for p in plans),
        deny=tuple(sorted(settings.deny)),
        overrides=dict(settings.overrides),
        state=None if settings.state is None else str(settings.state.resolve()),
        noise_seed=settings.noise_seed,
    )
