//! The lines that containers print, and which of them the cloud has: none is lost, and none is there twice without a reason.
//!
//! A line may be there twice if its answer was lost, or if the agent ended between the cloud's answer and the write of the
//! cursor: of the copy until the reboot if the agent was killed, of the durable one if the power went.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use boardkeeper::port::CursorCopy;
use boardkeeper::state::cloud::{CloudLogLine, LogSource};
use boardkeeper::state::{ContainerId, ContainerPhase, EngineTime, OutputStream};
use tokio::time::Instant;

use super::engine_model::SimContainer;
use super::events::Job;
use super::marks::Mark;
use super::rng::Rng;
use super::{CrashKind, Model};

/// A line that is older than this is in the cloud, if everything is well.
const WITHIN: Duration = Duration::from_secs(90);

/// The lines of a life.
pub(crate) struct Lines {
    /// Containers print by themselves, every few seconds.
    pub(crate) are_printed: bool,
    rng: Rng,
    /// Every line, by its number.
    all: BTreeMap<u64, Line>,
    /// Lines that the cloud acknowledged, and whose cursors are not saved until the reboot.
    unsaved: BTreeSet<u64>,
    /// The same, durably.
    fleeting: BTreeSet<u64>,
    /// The newest line that the cloud has of each stream.
    newest: BTreeMap<(ContainerId, OutputStream), u64>,
    /// Engines give lines by their time: after a jump of the clock nothing is promised.
    clock_jumped: bool,
}

/// A line.
struct Line {
    container: ContainerId,
    stream: OutputStream,
    at: EngineTime,
    printed: Instant,
    /// It was printed in local mode, or before, and the cloud did not have it then: it is not meant for the cloud, which may
    /// get it all the same where the disk did not take that the upload began anew.
    in_local_mode: bool,
    /// How often the cloud got it.
    times: u32,
    may_repeat: bool,
}

impl Lines {
    pub(super) const fn new(rng: Rng) -> Self {
        Self {
            are_printed: false,
            rng,
            all: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            fleeting: BTreeSet::new(),
            newest: BTreeMap::new(),
            clock_jumped: false,
        }
    }

    /// The clock jumps.
    pub(super) const fn clock_jumps(&mut self) {
        self.clock_jumped = true;
    }

    /// How many lines were printed, and how many times the cloud got one again.
    pub(crate) fn counts(&self) -> (usize, u32) {
        (self.all.len(), self.all.values().map(|it| it.times.saturating_sub(1)).sum())
    }

    /// The agent has the cloud's answer to these lines.
    pub(super) fn acknowledged(&mut self, lines: &[u64]) {
        for number in lines {
            if let Some(line) = self.all.get_mut(number) {
                line.may_repeat = false;
            }
        }
        self.unsaved.extend(lines);
        self.fleeting.extend(lines);
    }

    /// The cursors of everything that was acknowledged are saved.
    pub(super) fn cursors_saved(&mut self, copy: CursorCopy) {
        self.unsaved.clear();
        if copy == CursorCopy::Durable {
            self.fleeting.clear();
        }
    }

    /// The agent has ended, and the next one knows the cursors that were saved.
    pub(super) fn agent_died(&mut self, cut: CrashKind) {
        let unsaved = std::mem::take(&mut self.unsaved);
        let repeated = if cut == CrashKind::Crash { unsaved } else { std::mem::take(&mut self.fleeting) };
        for number in repeated {
            if let Some(line) = self.all.get_mut(&number) {
                line.may_repeat = true;
            }
        }
    }
}

impl Model {
    /// A container was started: it prints from now on, until it ends.
    pub(super) fn prints_later(&mut self, id: &ContainerId) {
        let started = self.engine.containers.get(id).filter(|it| !it.foreign).and_then(|it| it.view.started);
        let Some(started) = started.filter(|_| self.lines.are_printed) else { return };
        let after = self.lines.rng.millis(0, 30_000);
        self.schedule(after, Job::Print(id.clone(), started));
    }

    /// It prints, if it still runs.
    pub(super) fn prints(&mut self, id: &ContainerId, run: EngineTime) {
        let runs = |it: &SimContainer| it.view.phase.is_alive() && it.view.started == Some(run);
        if !self.engine.containers.get(id).is_some_and(runs) {
            return;
        }
        // More than two bodies, now and then.
        let count = if self.lines.rng.happens(30) { 120 } else { self.lines.rng.between(1, 3) };
        (0..count).for_each(|_| self.print_next(id));
        let after = self.lines.rng.secs(1, 60);
        self.schedule(after, Job::Print(id.clone(), run));
    }

    /// The last words of a container that ends.
    pub(super) fn prints_last(&mut self, id: &ContainerId) {
        if self.lines.are_printed && self.lines.rng.happens(500) {
            self.print_next(id);
        }
    }

    fn print_next(&mut self, id: &ContainerId) {
        let stream = if self.lines.rng.happens(300) { OutputStream::Stderr } else { OutputStream::Stdout };
        let number = u64::try_from(self.lines.all.len()).unwrap();
        let at = EngineTime(self.now_secs() * 1_000_000_000);
        // As the agent says; and as its record says while it does not run, or has yet to read that.
        let in_local_mode =
            self.status.as_ref().is_some_and(|it| it.borrow().access.local_mode) || self.disk.kept.local_mode.session.is_some();
        if in_local_mode {
            self.lines.all.values_mut().filter(|it| it.times == 0).for_each(|it| it.in_local_mode = true);
        }
        let printed = Instant::now();
        let line = Line { container: id.clone(), stream, at, printed, in_local_mode, times: 0, may_repeat: false };
        self.lines.all.insert(number, line);
        self.print(id, stream, &number.to_string());
    }

    /// The cloud gets lines. The numbers of those that containers printed.
    pub(super) fn lines_arrive(&mut self, lines: &[CloudLogLine]) -> Vec<u64> {
        let printed = lines.iter().filter_map(|it| match it.source {
            LogSource::System => None,
            LogSource::Stdout(_) => Some((OutputStream::Stdout, &it.text)),
            LogSource::Stderr(_) => Some((OutputStream::Stderr, &it.text)),
        });
        let printed: Vec<_> = printed.filter_map(|(stream, text)| Some((stream, text.parse().ok()?))).collect();
        for (stream, number) in &printed {
            self.line_arrives(*number, *stream);
        }
        printed.into_iter().map(|(_, number)| number).collect()
    }

    fn line_arrives(&mut self, number: u64, stream: OutputStream) {
        let Some(line) = self.lines.all.get_mut(&number).filter(|it| it.stream == stream) else {
            return self.violation(format_args!("the line {number} on {stream:?} was not printed there"));
        };
        let (times, may_repeat) = (line.times, std::mem::replace(&mut line.may_repeat, true));
        let in_local_mode = line.in_local_mode;
        line.times += 1;
        let newest = self.lines.newest.entry((line.container.clone(), stream)).or_insert(number);
        let before = std::mem::replace(newest, number.max(*newest));
        let (is_repeated, is_late) = (times > 0, times == 0 && before > number && !in_local_mode);
        if self.lines.clock_jumped {
            return;
        }
        if is_repeated && !may_repeat {
            self.violation(format_args!("the cloud has the line {number} twice"));
        } else if is_repeated {
            self.hit(Mark::LineRepeated);
        }
        if is_late {
            self.violation(format_args!("the cloud has the line {before} before {number}"));
        }
    }

    /// A line of a container that is there, and of which the cloud knows nothing. Lines from before the first upload are not
    /// meant for it.
    pub(crate) fn lost_line(&self) -> Option<String> {
        if !self.lines.are_printed || self.lines.clock_jumped {
            return None;
        }
        let began = self.disk.logs_began()?;
        let is_lost = |line: &&Line| {
            let container = self.engine.containers.get(&line.container);
            let is_there = container.is_some_and(|it| {
                it.view.phase != ContainerPhase::Created && (it.view.created_secs >= began.secs() || line.at >= began)
            });
            line.times == 0 && !line.in_local_mode && is_there && line.printed.elapsed() > WITHIN
        };
        let (number, line) = self.lines.all.iter().find(|(_, it)| is_lost(it))?;
        let key = &self.engine.containers.get(&line.container)?.view.key;
        Some(format!("the cloud does not have the line {number} of {key}, printed {:?} ago", line.printed.elapsed()))
    }
}
