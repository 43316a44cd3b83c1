//! A target-state file or a compose file, read again whenever it or a file that it names changes. They are watched with
//! inotify, never polled.
//!
//! A mount over a directory on the path to the file is the one change that the kernel does not report. Then the file is read
//! when an update is requested, through [`Targets::look_again`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::document::parse;
use crate::port::Targets;
use crate::sorted::SortedSet;
use crate::state::{Target, TargetError};

use super::off_thread;
use super::watch::{FileChange, FileWatcher};

mod reading;

pub use reading::{DOCUMENT_BYTES, read_once};
use reading::{Print, compose_path, look, print};

/// Wait after the file was removed, or says something wrong: a new one, or the rest of it, may follow at once.
const SETTLE: Duration = Duration::from_millis(50);

/// Wait after a write that no close has followed. Some writers never close the file.
const WRITING: Duration = Duration::from_secs(1);

/// A watched target-state file. One future at a time may wait in [`Targets::next`].
#[derive(Debug)]
pub struct TargetFile {
    path: PathBuf,
    device_uuid: Option<String>,
    /// Hash of what [`Targets::next`] returned last.
    given: Cell<Option<Print>>,
    /// Why the file could not be watched, as last reported.
    complained: RefCell<Option<String>>,
    watch: RefCell<Option<FileWatcher>>,
    /// The other files that the target was made of, or would be if they were there.
    files: RefCell<SortedSet<PathBuf>>,
    /// When the file may be read. `None`: now.
    judge_at: Cell<Option<Instant>>,
    /// It is read as soon as it was written, and what is wrong with it may be mended within [`SETTLE`].
    is_early: Cell<bool>,
    asked: Notify,
}

impl TargetFile {
    /// The file at a path, which need not exist yet. `device_uuid` selects this device's part of a v3 document.
    #[must_use]
    pub fn new(path: &Path, device_uuid: Option<&str>) -> Self {
        Self {
            // Only an empty path cannot be made absolute. It is reported as a missing file.
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            device_uuid: device_uuid.map(str::to_owned),
            given: Cell::new(None),
            complained: RefCell::new(None),
            watch: RefCell::new(None),
            files: RefCell::default(),
            judge_at: Cell::new(None),
            is_early: Cell::new(false),
            asked: Notify::new(),
        }
    }

    /// Watches the path as it is now. Runs before the file is read, so that no change falls in between.
    fn arm(&self) -> Result<(), String> {
        let armed = self.try_arm();
        if let Err(error) = &armed {
            *self.watch.borrow_mut() = None;
            let path = self.path.display();
            return Err(format!(
                "{path}: it cannot be watched ({error}), and is read only when an update is asked for; \
                 look at fs.inotify.max_user_instances and max_user_watches"
            ));
        }
        Ok(())
    }

    fn try_arm(&self) -> io::Result<()> {
        let mut watch = self.watch.borrow_mut();
        if watch.is_none() {
            *watch = Some(FileWatcher::new(&self.path)?);
        }
        if let Some(watch) = watch.as_mut() {
            let files = self.files.borrow();
            let others = files.iter().filter(|it| **it != self.path).cloned();
            watch.set_paths([self.path.clone()].into_iter().chain(others).collect());
        }
        watch.as_mut().map_or(Ok(()), FileWatcher::arm)
    }

    /// Waits for the next change of the file. The change is recorded before this returns, so that the future may be dropped.
    async fn change(&self) {
        poll_fn(|cx| {
            let mut watch = self.watch.borrow_mut();
            let Some(change) = watch.as_mut().map(|it| it.poll_change(cx)) else { return Poll::Pending };
            change.map(|change| {
                let wait = match change {
                    Ok(FileChange::Writing) => WRITING,
                    Ok(FileChange::Replaced) => Duration::ZERO,
                    // No beginning of a JSON document is one; that of a compose file may be, without some of its services.
                    Ok(FileChange::Written) if compose_path(&self.path).is_none() => Duration::ZERO,
                    Ok(FileChange::Written | FileChange::Other) => SETTLE,
                    Err(_) => {
                        // `arm` creates the watch again, and reports if that fails.
                        *watch = None;
                        SETTLE
                    }
                };
                self.is_early.set(wait.is_zero());
                self.judge_at.set(Some(Instant::now() + wait));
            })
        })
        .await;
    }

    /// Waits until no further write is expected.
    async fn settled(&self) {
        while self.change().now_or_never().is_some() {}
        while let Some(at) = self.judge_at.get() {
            if at <= Instant::now() {
                self.judge_at.set(None);
                return;
            }
            tokio::select! {
                biased;
                () = self.change() => {}
                () = sleep_until(at) => self.judge_at.set(None),
            }
        }
    }

    /// Reads the file. `None`: it says the same as last time.
    async fn look(&self) -> Look {
        let (path, uuid, given) = (self.path.clone(), self.device_uuid.clone(), self.given.get());
        // The largest document takes an old processor seconds, and API requests must not wait for it.
        let looked = off_thread(move || look(&path, uuid.as_deref(), given));
        let (print, target, files) = match looked.await {
            Ok(looked) => looked,
            Err(error) => {
                let wrong = Err(format!("it cannot be read: {error}"));
                (print(&wrong), Some(wrong.map(|_| Target::default())), SortedSet::new())
            }
        };
        let is_wrong = target.as_ref().is_some_and(Result::is_err);
        if is_wrong && self.is_early.replace(false) {
            self.judge_at.set(Some(Instant::now() + SETTLE));
            return Look::Early;
        }
        let is_new = self.given.replace(Some(print)) != Some(print);
        let has_other_files = self.files.replace(files.clone()) != files;
        match target.filter(|_| is_new) {
            Some(target) => Look::News(target.map_err(|why| TargetError(format!("{}: {why}", self.path.display())))),
            None if has_other_files => Look::OtherFiles,
            None => Look::Same,
        }
    }
}

/// What a look at the file showed.
enum Look {
    /// It says something new.
    News(Result<Target, TargetError>),
    /// It says something wrong, and was written a moment ago.
    Early,
    /// It says the same, of other files, which are to be watched before they are read again.
    OtherFiles,
    /// It says the same.
    Same,
}

impl Targets for TargetFile {
    async fn next(&self) -> Result<Target, TargetError> {
        loop {
            let armed = self.arm();
            self.settled().await;
            match self.look().await {
                Look::News(news) => return news,
                Look::Early | Look::OtherFiles => continue,
                Look::Same => {}
            }
            let complaint = armed.err();
            if self.complained.replace(complaint.clone()) != complaint
                && let Some(why) = complaint
            {
                return Err(TargetError(why));
            }
            tokio::select! {
                biased;
                () = self.asked.notified() => {}
                () = self.change() => {}
            }
        }
    }

    async fn parse(&self, document: String) -> Result<Target, TargetError> {
        parse_off_thread(document).await
    }

    fn look_again(&self) {
        self.asked.notify_one();
    }
}

/// Parses a document that was pushed in local mode.
pub(super) async fn parse_off_thread(document: String) -> Result<Target, TargetError> {
    off_thread(move || parse(&document, None)).await.unwrap_or_else(|why| Err(TargetError(why)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::rc::Rc;

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    /// Longer than [`SETTLE`], shorter than [`WRITING`].
    const QUIET: Duration = Duration::from_millis(400);

    struct Lab {
        dir: TempDir,
        file: TargetFile,
    }

    impl Lab {
        fn new(path: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = TargetFile::new(&dir.path().join(path), None);
            Self { dir, file }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        fn replace(&self, name: &str, text: &str) {
            self.write("new", text);
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }

        async fn next_name(&self) -> Result<String, String> {
            let next_name =
                timeout(Duration::from_secs(10), self.file.next()).await.expect("the target file reports it in time");
            next_name.map(|it| it.name.unwrap_or_default()).map_err(|it| it.0)
        }

        async fn quiet(&self) {
            let next_name = timeout(QUIET, self.file.next()).await;
            assert!(next_name.is_err(), "{next_name:?}");
        }
    }

    fn named(name: &str) -> String {
        format!(r#"{{"apps": {{}}, "name": "{name}"}}"#)
    }

    #[tokio::test]
    async fn the_first_comes_at_once_and_each_once() {
        let lab = Lab::new("t.json");
        lab.write("t.json", &named("one"));
        assert_eq!(lab.next_name().await.unwrap(), "one");
        lab.quiet().await;
        lab.write("t.json", &named("one"));
        lab.file.look_again();
        lab.quiet().await;
    }

    #[tokio::test]
    async fn it_may_be_replaced_or_written_in_place() {
        let lab = Lab::new("t.json");
        lab.write("t.json", &named("one"));
        assert_eq!(lab.next_name().await.unwrap(), "one");
        lab.replace("t.json", &named("two"));
        assert_eq!(lab.next_name().await.unwrap(), "two");
        lab.write("t.json", &named("three"));
        assert_eq!(lab.next_name().await.unwrap(), "three");
        lab.write("other.json", &named("four"));
        lab.quiet().await;
    }

    #[tokio::test]
    async fn it_may_go_and_come_back() {
        let lab = Lab::new("t.json");
        let missing = format!("{}: no such file; it is read as soon as it appears", lab.path("t.json").display());
        assert_eq!(lab.next_name().await.unwrap_err(), missing);
        lab.quiet().await;
        lab.write("t.json", &named("one"));
        assert_eq!(lab.next_name().await.unwrap(), "one");
        fs::remove_file(lab.path("t.json")).unwrap();
        assert_eq!(lab.next_name().await.unwrap_err(), missing);
        lab.write("t.json", &named("one"));
        assert_eq!(lab.next_name().await.unwrap(), "one");
        // Removed and back within [`SETTLE`]: nothing is reported.
        fs::remove_file(lab.path("t.json")).unwrap();
        lab.write("t.json", &named("one"));
        lab.quiet().await;
    }

    #[tokio::test]
    async fn a_bad_one_is_told_once_and_a_good_one_after_it() {
        let lab = Lab::new("t.json");
        lab.write("t.json", "{");
        let said = lab.next_name().await.unwrap_err();
        assert!(said.contains("t.json: it is not JSON: EOF"), "{said}");
        lab.quiet().await;
        lab.replace("t.json", "{");
        lab.quiet().await;
        lab.replace("t.json", &named("good"));
        assert_eq!(lab.next_name().await.unwrap(), "good");
        lab.replace("t.json", "{");
        assert!(lab.next_name().await.is_err());
        lab.replace("t.json", &named("good"));
        assert_eq!(lab.next_name().await.unwrap(), "good");
    }

    #[tokio::test]
    async fn a_half_written_file_is_not_judged() {
        use std::io::Write;
        let lab = Lab::new("t.json");
        lab.write("t.json", &named("one"));
        assert_eq!(lab.next_name().await.unwrap(), "one");
        let text = named("two");
        let mut slow = fs::File::create(lab.path("t.json")).unwrap();
        slow.write_all(&text.as_bytes()[..9]).unwrap();
        lab.quiet().await;
        slow.write_all(&text.as_bytes()[9..]).unwrap();
        drop(slow);
        assert_eq!(lab.next_name().await.unwrap(), "two");
        // A file that is never closed is read after [`WRITING`].
        let mut open = fs::File::create(lab.path("t.json")).unwrap();
        open.write_all(named("three").as_bytes()).unwrap();
        assert_eq!(lab.next_name().await.unwrap(), "three");
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_file_that_was_just_written_may_be_mended() {
        let lab = Lab::new("t.json");
        let write = |more: bool, text: &str| {
            use std::io::Write;
            let mut file = fs::OpenOptions::new().create(true).append(more).write(true).open(lab.path("t.json")).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let text = named("two");
        write(false, &named("one"));
        lab.file.next().await.unwrap();
        fs::remove_file(lab.path("t.json")).unwrap();
        lab.file.arm().unwrap();
        write(false, &text[..9]);
        lab.file.settled().await;
        assert!(matches!(lab.file.look().await, Look::Early));
        assert!(lab.file.judge_at.get().is_some(), "it is judged once more if nothing follows");
        write(true, &text[9..]);
        lab.file.settled().await;
        assert!(matches!(lab.file.look().await, Look::News(Ok(target)) if target.name.as_deref() == Some("two")));
    }

    #[tokio::test]
    async fn the_beginning_of_a_compose_file_is_not_taken_for_all_of_it() {
        let lab = Lab::new("compose.yml");
        lab.write("compose.yml", "services: {}\n");
        lab.file.next().await.unwrap();
        lab.write("compose.yml", "services:\n  a: {image: a}\n");
        while lab.file.judge_at.get().is_none_or(|at| at > Instant::now() + SETTLE) {
            lab.file.change().await;
        }
        assert!(!lab.file.is_early.get(), "more may be appended");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_renamed_into_place_is_read_without_a_wait() {
        let lab = Lab::new("compose.yml");
        lab.write("compose.yml", "services: {}\n");
        lab.file.next().await.unwrap();
        lab.replace("compose.yml", "services:\n  a: {image: a}\n");
        let began = Instant::now();
        assert_eq!(lab.file.next().await.unwrap().apps.values().map(|it| it.services.len()).sum::<usize>(), 1);
        assert_eq!(began.elapsed(), Duration::ZERO, "no timer was waited for");
    }

    #[tokio::test]
    async fn directories_may_come_go_and_move() {
        let lab = Lab::new("a/b/t.json");
        assert!(lab.next_name().await.unwrap_err().contains("no such file"));
        fs::create_dir_all(lab.path("a/b")).unwrap();
        lab.quiet().await;
        lab.write("a/b/t.json", &named("one"));
        assert_eq!(lab.next_name().await.unwrap(), "one");
        fs::rename(lab.path("a"), lab.path("z")).unwrap();
        assert!(lab.next_name().await.is_err());
        lab.write("z/b/t.json", &named("elsewhere"));
        lab.quiet().await;
        fs::create_dir_all(lab.path("a/b")).unwrap();
        lab.write("a/b/t.json", &named("two"));
        assert_eq!(lab.next_name().await.unwrap(), "two");
        fs::remove_dir_all(lab.path("a")).unwrap();
        assert!(lab.next_name().await.is_err());
        fs::rename(lab.path("z"), lab.path("a")).unwrap();
        assert_eq!(lab.next_name().await.unwrap(), "elsewhere");
    }

    #[tokio::test]
    async fn links_are_followed() {
        use std::os::unix::fs::symlink;
        let lab = Lab::new("t.json");
        fs::create_dir(lab.path("store")).unwrap();
        lab.write("store/one", &named("one"));
        lab.write("store/two", &named("two"));
        symlink("store/one", lab.path("t.json")).unwrap();
        assert_eq!(lab.next_name().await.unwrap(), "one");
        lab.write("store/one", &named("edited"));
        assert_eq!(lab.next_name().await.unwrap(), "edited");
        symlink("store/two", lab.path("next")).unwrap();
        fs::rename(lab.path("next"), lab.path("t.json")).unwrap();
        assert_eq!(lab.next_name().await.unwrap(), "two");
    }

    #[tokio::test]
    async fn what_is_dropped_is_not_lost() {
        let lab = Lab::new("t.json");
        lab.write("t.json", &named("one"));
        assert_eq!(lab.next_name().await.unwrap(), "one");
        lab.replace("t.json", &named("two"));
        // The future is dropped again and again, at whatever await it has reached.
        let mut patience = Duration::ZERO;
        let next_name = loop {
            if let Ok(next_name) = timeout(patience, lab.file.next()).await {
                break next_name;
            }
            patience += Duration::from_millis(1);
        };
        assert_eq!(next_name.unwrap().name.as_deref(), Some("two"));
        lab.replace("t.json", &named("three"));
        let next_name = match lab.next_name().now_or_never() {
            Some(next_name) => next_name,
            None => lab.next_name().await,
        };
        assert_eq!(next_name.unwrap(), "three");
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let lab = Rc::new(Lab::new("t.json"));
        lab.write("t.json", &named("one"));
        assert_eq!(lab.next_name().await.unwrap(), "one");
        let later = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            lab.replace("t.json", &named("two"));
        };
        let (next_name, ()) = tokio::join!(lab.next_name(), later);
        assert_eq!(next_name.unwrap(), "two");
    }

    #[tokio::test]
    async fn waiting_costs_no_wake_up() {
        let lab = Lab::new("t.json");
        lab.write("t.json", &named("one"));
        assert_eq!(lab.next_name().await.unwrap(), "one");
        lab.quiet().await;
        let mut waiting = std::pin::pin!(lab.file.next());
        let mut polls = 0;
        let counted = poll_fn(|cx| {
            polls += 1;
            waiting.as_mut().poll(cx).map(|_| ())
        });
        assert!(timeout(2 * QUIET, counted).await.is_err());
        // Once at first, once when the file was read, once when the test's own time is up.
        assert!(polls <= 4, "polled {polls} times");
    }

    #[tokio::test]
    async fn what_is_no_document_is_told_as_such() {
        let lab = Lab::new("t.json");
        fs::create_dir(lab.path("t.json")).unwrap();
        assert!(lab.next_name().await.unwrap_err().contains("the folder has no compose file"));
        fs::remove_dir(lab.path("t.json")).unwrap();
        assert!(lab.next_name().await.unwrap_err().contains("no such file"));
        lab.write("t.json", &" ".repeat(4 * 1024 * 1024 + 1));
        assert!(lab.next_name().await.unwrap_err().contains("larger than 4194304 bytes"));
        fs::write(lab.path("t.json"), b"{}\xff").unwrap();
        assert!(lab.next_name().await.unwrap_err().contains("not UTF-8 text from byte 2 on"));
    }
}
