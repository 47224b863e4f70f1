"""What `sparsec tune` shows while it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from sparsec.codegen.tuned import Place
    from sparsec.kernels.machine.settings import Setting
    from sparsec.tuning.journal import Trial


class Nothing:
    """For pipes."""

    def start(self, name: str, count: int) -> None: ...

    def advance(self, place: Place, setting: Setting, trial: Trial) -> None: ...


class Lines:
    """A line for each setting."""

    def start(self, name: str, count: int) -> None:
        print(f"{name}: {count} settings", flush=True)

    def advance(self, place: Place, setting: Setting, trial: Trial) -> None:
        said = trial.skipped or f"{trial.ms:.3f} ms, {trial.ratio:.3f} of the usual time"
        print(f"  {place.kernel:<8} {place.shape:<32} {setting}: {said}", flush=True)


class Bar:
    """A bar for each pattern, with the best ratio so far of the kernel in hand."""

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, TextColumn("{task.fields[best]}"))
        self.progress.__enter__()
        self.best: dict[Place, float] = {}
        return self

    def __exit__(self, *problem: object) -> None:
        self.progress.__exit__(*problem)

    def start(self, name: str, count: int) -> None:
        self.task = self.progress.add_task(name, total=count, best="")

    def advance(self, place: Place, setting: Setting, trial: Trial) -> None:
        self.best[place] = min(self.best.get(place, 1.0), trial.ratio or 1.0)
        self.progress.update(self.task, advance=1, best=f"{place.kernel} {self.best[place]:.3f}")
