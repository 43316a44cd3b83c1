//! A source of targets that can be replaced while the agent runs.

use std::rc::Rc;

use tokio::sync::watch;

use crate::document;
use crate::linux::off_thread;
use crate::linux::preload::Preload;
use crate::linux::target_file::parse_off_thread;
use crate::port::Targets;
use crate::state::{Target, TargetError};

/// A source of targets, or none, that can be replaced by another.
#[derive(Debug)]
pub struct SwappableSource<T> {
    now: watch::Sender<Option<Rc<T>>>,
    preload: Option<Preload>,
}

impl<T> SwappableSource<T> {
    /// Starts with a source. `None`: the last target stays in force.
    #[must_use]
    pub fn new(source: Option<T>) -> Self {
        Self { now: watch::Sender::new(source.map(Rc::new)), preload: None }
    }

    /// The same source, on a device that may have a preloaded target.
    #[must_use]
    pub fn with_preload(self, preload: Option<Preload>) -> Self {
        Self { preload, ..self }
    }

    /// Replaces the source. The target of the old source stays in force until the new one returns one.
    pub fn replace(&self, source: Option<T>) {
        self.now.send_replace(source.map(Rc::new));
    }
}

impl<T: Targets> Targets for SwappableSource<T> {
    async fn next(&self) -> Result<Target, TargetError> {
        let mut turned = self.now.subscribe();
        loop {
            let source = turned.borrow_and_update().clone();
            let next = async {
                match &source {
                    Some(source) => source.next().await,
                    None => std::future::pending().await,
                }
            };
            // `self` owns the sender, so the channel is never closed here.
            tokio::select! {
                biased;
                _ = turned.changed() => (),
                news = next => return news,
            }
        }
    }

    async fn parse(&self, document: String) -> Result<Target, TargetError> {
        parse_off_thread(document).await
    }

    async fn parse_kept(&self, document: String, device_uuid: &str) -> Result<Target, TargetError> {
        let device_uuid = device_uuid.to_owned();
        let parse = move || document::parse_kept(&document, Some(&device_uuid));
        off_thread(parse).await.unwrap_or_else(|why| Err(TargetError(why)))
    }

    fn look_again(&self) {
        if let Some(source) = &*self.now.borrow() {
            source.look_again();
        }
    }

    async fn preloaded(&self) -> Option<Result<Target, TargetError>> {
        self.preload.as_ref()?.read().await
    }

    async fn on_preloaded_saved(&self) {
        if let Some(preload) = &self.preload {
            preload.on_saved();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::linux::target_file::TargetFile;

    #[tokio::test]
    async fn another_file_takes_over_while_the_first_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let document = |name: &str, device: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!(r#"{{"local":{{"name":"{device}","config":{{}},"apps":{{}}}}}}"#)).unwrap();
            Some(TargetFile::new(&path, None))
        };
        let switch = SwappableSource::new(document("a.json", "first"));
        let soon = Duration::from_secs(5);
        assert_eq!(timeout(soon, switch.next()).await.unwrap().unwrap().name.as_deref(), Some("first"));
        let (next, ()) = tokio::join!(timeout(soon, switch.next()), async { switch.replace(document("b.json", "second")) });
        assert_eq!(next.unwrap().unwrap().name.as_deref(), Some("second"));
        switch.replace(None);
        switch.look_again();
        assert!(timeout(Duration::from_millis(100), switch.next()).await.is_err());
    }
}
