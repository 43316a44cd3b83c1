//! Futures of one task that are polled apart.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls one of several futures of a task only when it was woken itself. Otherwise each request to the API would poll every
/// loop of the agent.
pub fn apart<T>(one: impl Future<Output = T>) -> impl Future<Output = T> {
    // On the heap: a future that is moved into a pinned place of another takes twice its size there.
    let mut one = Box::pin(one);
    let own = Arc::new(OwnWakes { is_woken: AtomicBool::new(true), task: AtomicWaker::new() });
    let waker = Waker::from(Arc::clone(&own));
    poll_fn(move |context| {
        // Before it is asked whether it was woken: what wakes it from now on wakes the task.
        own.task.register(context.waker());
        if own.is_woken.swap(false, Ordering::AcqRel) {
            one.as_mut().poll(&mut Context::from_waker(&waker))
        } else {
            Poll::Pending
        }
    })
}

/// Whether the future of [`apart`] was woken. Not a `FuturesUnordered` of one, which has the task polled a second time for each
/// wake, and the kernel asked for events in between.
struct OwnWakes {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for OwnWakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::watch;

    use super::*;

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_wake_polls_the_task_once() {
        let (task, (wake, mut woken)) = (Arc::new(Woken::default()), watch::channel(()));
        let waker = Waker::from(Arc::clone(&task));
        let mut context = Context::from_waker(&waker);
        let mut loops = pin!(apart(async {
            loop {
                let _ = woken.changed().await;
            }
        }));
        for wakes in 0..3 {
            assert_eq!(task.0.load(Ordering::Relaxed), wakes);
            let never: Poll<()> = loops.as_mut().poll(&mut context);
            assert!(never.is_pending());
            assert_eq!(task.0.load(Ordering::Relaxed), wakes, "it does not wake itself");
            wake.send_replace(());
        }
    }

    #[tokio::test]
    async fn a_loop_is_polled_when_it_is_woken_and_not_when_another_is() {
        let (polls, (wake, mut woken)) = (Cell::new(0), watch::channel(()));
        let quiet = apart(async {
            let mut waits = std::pin::pin!(async {
                loop {
                    let _ = woken.changed().await;
                }
            });
            poll_fn(|cx| {
                polls.set(polls.get() + 1);
                waits.as_mut().poll(cx)
            })
            .await;
        });
        let busy = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(polls.get(), 1, "only at first");
            wake.send_replace(());
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            polls.get()
        };
        tokio::select! {
            biased;
            () = quiet => unreachable!("it has no end"),
            polls = busy => assert_eq!(polls, 2, "once more when it was woken"),
        }
        let ends = apart(poll_fn(|_| Poll::Ready(7)));
        assert_eq!(ends.await, 7);
    }
}
