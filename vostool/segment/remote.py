"""Jobs of a batch whose files lie elsewhere, at addresses such as s3://bucket/clip.mp4.

The files of one job at a time are fetched into a temporary folder, and what the job writes is
uploaded once it is whole, run.json last; what is interrupted begins anew. Messages and reports
name the addresses.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from vostool.errors import InputError, OutputError, VostoolError
from vostool.files.claims import OVERWRITE, claimed
from vostool.files.remote import Remote
from vostool.inference.predictor import Predictor
from vostool.media.inputs import Elsewhere, is_elsewhere
from vostool.media.mask_options import split_prefix
from vostool.progress import ProgressCallback
from vostool.segment.frame_range import with_frame_numbers
from vostool.segment.job import Job, is_alike
from vostool.segment.output import results_in
from vostool.segment.report import REPORT, RunReport, write_report
from vostool.segment.run import segment


def is_remote(job: Job) -> bool:
    """Return whether any file of a job lies elsewhere."""
    return (
        job.upload is not None
        or isinstance(job.video, Elsewhere)
        or any(is_elsewhere(split_prefix(spec)[1]) for spec in job.masks)
    )


def segment_remote(
    job: Job, predictor: Predictor, progress: ProgressCallback
) -> tuple[RunReport, bool]:
    """Run a job whose files lie elsewhere; return its report, and whether it was done before.

    Raises what `segment` raises, InputError for what cannot be fetched, OutputError for what
    cannot be uploaded or exists already, UsageError without a package that is needed.
    KeyboardInterrupt gets a note that nothing of it is kept.
    """
    target = Remote.at(job.upload or str(job.output.resolve()))
    held = claimed(job.output) if job.upload is None else nullcontext()  # elsewhere are no claims
    with TemporaryDirectory(prefix="vostool-", ignore_cleanup_errors=True) as folder:
        copies = Copies(Path(folder))
        with held, copies.named_by_address():
            if job.start_time is not None or job.end_time is not None:
                timed = with_frame_numbers(replace(job, video=copies.video(job)))
                job = replace(timed, video=job.video)
            before = report_at(target)
            alike = before is not None and is_alike(job, predictor, before)
            if before is not None and alike and before.status == "done" and not job.overwrite:
                return before, True
            older = target.names() & {path.name for path in results_in(Path())}
            if older and not alike and not job.overwrite:
                raise OutputError(f"{target.address}: holds a result already; {OVERWRITE}")
            local = copies.job(job)
            report = copies.report(segment(local, predictor, progress))
            upload(local.output, target, older, report)
    return report, False


@dataclass
class Copies:
    """The files of a job in a folder here, and what they are called."""

    folder: Path
    names: dict[str, str] = field(default_factory=dict)  # addresses, by the paths here

    def job(self, job: Job) -> Job:
        """Return a job with all that it reads fetched, which writes here; raises InputError."""
        output = self.folder / "out" / job.output.name
        self.names[str(output)] = job.upload or str(job.output)
        return replace(
            job,
            video=self.video(job),
            masks=tuple(self._mask(spec) for spec in job.masks),
            output=output,
            upload=None,
            resume=False,
            states=False,
        )

    def video(self, job: Job) -> Any:
        """Return the video of a job, fetched if it lies elsewhere."""
        return self._fetch(job.video.address) if isinstance(job.video, Elsewhere) else job.video

    def _mask(self, spec: str) -> str:
        prefix, path = split_prefix(spec)
        return f"{prefix}{self._fetch(path)}" if is_elsewhere(path) else spec

    def _fetch(self, address: str) -> Path:
        """Return the copy of what is at an address, under its own name; it is fetched once."""
        for path, known in self.names.items():
            if known == address:
                return Path(path)
        copy = self.folder / str(len(self.names)) / PurePosixPath(address).name
        self.names[str(copy)] = address
        Remote.at(address).fetch(copy)
        return copy

    @contextmanager
    def named_by_address(self) -> Iterator[None]:
        """Have errors name addresses in place of the copies, and no copy be said to be kept."""
        try:
            yield
        except VostoolError as error:
            raise type(error)(self._named(str(error))) from error
        except OSError as error:
            words = f"{error.filename or 'a temporary copy'}: {error.strerror or error}"
            raise InputError(self._named(words)) from error
        except KeyboardInterrupt as stop:
            stop.__notes__ = ["nothing is kept of a video that lies elsewhere"]
            raise

    def report(self, report: RunReport) -> RunReport:
        """Return a report that names addresses in place of the copies."""
        return RunReport.model_validate(self._named(report.model_dump(mode="json")))

    def _named(self, value: Any) -> Any:
        """Return a text, or all texts in a document, with addresses in place of the copies."""
        match value:
            case str():
                for path, address in self.names.items():
                    value = value.replace(path, address)
                return value
            case dict():
                return {name: self._named(each) for name, each in value.items()}
            case list():
                return [self._named(each) for each in value]
        return value


def report_at(target: Remote) -> RunReport | None:
    """Return the report of the run that a folder elsewhere holds, if there is one to be read."""
    content = target.read(REPORT)
    try:
        return None if content is None else RunReport.model_validate_json(content)
    except ValidationError:
        return None


def upload(folder: Path, target: Remote, older: set[str], report: RunReport) -> None:
    """Upload a result in the place of an older one; raises OutputError.

    Until all of it is there, run.json says that it is running, so that it is never taken for whole.
    """
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    own = {REPORT: files.pop(REPORT)}
    write_report(folder, report.model_copy(update={"status": "running"}))
    target.upload(own)
    target.remove(older - {REPORT})
    target.upload(files)
    write_report(folder, report)
    target.upload(own)
