//! Hooks: a command in a container, to its exit code or for as long as it may take.

use std::sync::Arc;
use std::time::Duration;

use boardkeeper::port::EngineError;
use boardkeeper::state::hook::{HookRun, UpdateHook};
use boardkeeper::state::labels::BEFORE_UPDATE_LABEL;
use boardkeeper::state::{ConfigHash, EngineAction};
use tokio::time::Instant;

use super::{Lab, seen, spec, take, which};

/// Runs a command of two words as a hook of `main`.
async fn run(lab: &impl Lab, word: &str, argument: &str, secs: u64) -> Result<(), EngineError> {
    let hook = UpdateHook { command: vec![word.to_owned(), argument.to_owned()], timeout: Duration::from_secs(secs) };
    let run = HookRun { hook, wanted: ConfigHash("1".to_owned()) };
    take(lab, EngineAction::RunHook(which(lab, "main").await, Box::new(run))).await
}

pub(crate) async fn a_hook_is_seen_and_run_to_its_exit_code_or_its_time(lab: &impl Lab) {
    let mut spec = spec(lab, "main");
    spec.config.labels.insert(BEFORE_UPDATE_LABEL.to_owned(), "sh -c 'exit 3'".to_owned());
    take(lab, EngineAction::Create(Arc::new(spec))).await.unwrap();
    let hook = seen(lab, "main").await.unwrap().before_update.unwrap();
    assert_eq!((hook.command, hook.timeout), (vec!["sh".into(), "-c".into(), "exit 3".into()], Duration::from_secs(60)));
    let main = which(lab, "main").await;
    take(lab, EngineAction::Start(main.clone())).await.unwrap();
    assert_eq!(run(lab, "true", "", 20).await, Ok(()));
    match run(lab, "false", "", 20).await {
        Err(EngineError::Refused(why)) => assert!(why.contains("exit code 1"), "{why}"),
        other => panic!("a hook that fails gives {other:?}"),
    }
    let since = Instant::now();
    match run(lab, "sleep", "1000", 2).await {
        Err(EngineError::Refused(why)) => assert!(why.contains("did not end within 2 s"), "{why}"),
        other => panic!("a hook that hangs gives {other:?}"),
    }
    assert!(since.elapsed() >= Duration::from_secs(2));
    // What does not run has nothing to be prepared.
    take(lab, EngineAction::Stop(main)).await.unwrap();
    assert_eq!(run(lab, "false", "", 20).await, Ok(()));
}
