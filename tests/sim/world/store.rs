//! A disk that keeps what it said it kept, and little else.

use boardkeeper::port::{Memory, Record, Store, StoreError};

use super::Sim;

/// What is on the disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What would be read now.
    pub(crate) kept: Memory,
    /// Nothing more fits.
    pub(crate) full: bool,
    /// It cannot be written.
    pub(crate) read_only: bool,
}

impl Disk {
    fn keep(&mut self, record: Record) {
        match record {
            Record::Identity(identity) => self.kept.identity = Some(identity),
            Record::Keys(keys) => self.kept.keys = Some(keys),
            Record::Targets(targets) => self.kept.targets = *targets,
            Record::Stopped(stopped) => self.kept.stopped = stopped,
            Record::Awaiting(awaiting) => self.kept.awaiting = awaiting,
        }
    }

    fn trouble(&self) -> Option<StoreError> {
        let why = match (self.full, self.read_only) {
            (true, _) => "no space left on device",
            (_, true) => "read-only file system",
            (false, false) => return None,
        };
        Some(StoreError(why.into()))
    }
}

/// A record being written. Dropped before it is done, it is there, or not, or torn and put aside.
struct Writing<'a>(&'a Sim, Option<Record>);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let (Some(record), Ok(mut model)) = (self.1.take(), self.0.0.try_borrow_mut()) else { return };
        match model.fates.halves.below(3) {
            0 => model.disk.keep(record),
            1 => model.disk.kept.complaints = vec!["a record was torn, and put aside".into()],
            _ => (),
        }
    }
}

impl Store for Sim {
    async fn load(&self) -> Result<Memory, StoreError> {
        self.pass(1, 50).await;
        self.with(|model| {
            if model.fates.calls.happens(model.weather.faults) {
                model.note("the disk cannot be read");
                return Err(StoreError("input/output error".into()));
            }
            let memory = model.disk.kept.clone();
            model.disk.kept.complaints.clear();
            Ok(memory)
        })
    }

    async fn save(&self, record: &Record) -> Result<(), StoreError> {
        self.with(|model| model.judge_save(record));
        let mut writing = Writing(self, Some(record.clone()));
        let slow = self.with(|model| model.fates.calls.happens(model.weather.hangs));
        self.pass(1, if slow { 20_000 } else { 60 }).await;
        writing.1 = None;
        self.with(|model| {
            let kind = name(record);
            if let Some(trouble) = model.disk.trouble() {
                model.note(format_args!("save {kind}: {trouble}"));
                return Err(trouble);
            }
            let fault = model.fates.calls.happens(model.weather.faults);
            if fault && model.fates.calls.happens(500) {
                model.note(format_args!("save {kind}: failed"));
                return Err(StoreError("input/output error".into()));
            }
            model.disk.keep(record.clone());
            if fault {
                model.note(format_args!("save {kind}: kept, and called a failure"));
                return Err(StoreError("input/output error".into()));
            }
            model.judge.kept(record);
            Ok(())
        })
    }
}

const fn name(record: &Record) -> &'static str {
    match record {
        Record::Identity(_) => "identity",
        Record::Keys(_) => "keys",
        Record::Targets(_) => "targets",
        Record::Stopped(_) => "stopped",
        Record::Awaiting(_) => "awaiting",
    }
}
