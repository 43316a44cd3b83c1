//! File systems in memory that track what is on the disk and what is only in the cache.
//!
//! Programs see every change at once. On the disk is what was synced, and of the rest any part: each name that was made, moved
//! or removed since its directory was synced, or not, in any order; a move with the old name still there; and of each file's
//! unsynced bytes any length, with blocks that never arrived holding zeros or what another file left there. ext4 keeps names
//! in order, so it leaves fewer states than POSIX allows; the store has to live with all of them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use boardkeeper::linux::store::StoreFiles;

/// A handle to file systems; clones see the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Layer(Arc<Mutex<Model>>);

/// Everything there is.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) nodes: Vec<Node>,
    /// Changes asked for so far.
    calls: usize,
    trouble: Option<Trouble>,
    lie: Option<Lie>,
    /// How everything was before each call.
    tape: Option<Vec<Model>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    File {
        seen: Vec<u8>,
        kept: Vec<u8>,
        /// The kernel failed to write it, and takes it for written.
        given_up: bool,
    },
    Dir {
        seen: Names,
        kept: Names,
        pending: Vec<Change>,
    },
}

pub(crate) type Names = BTreeMap<String, usize>;

/// What was done to a directory, and may or may not be on the disk.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Made(String, usize),
    Removed(String, usize),
    Moved(String, String, usize),
}

/// What goes wrong, and from which call on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trouble {
    pub(crate) at: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing can be made any more. What is begun is half there.
    Full,
    /// One call fails.
    Broken,
    /// The process is gone: nothing is done any more.
    Killed,
}

/// A disk that says it did what it did not. The tests must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Files are not synced.
    Bytes,
    /// The state's directory is not synced.
    Names,
    /// The directories above it are not.
    Above,
}

const ROOT: usize = 0;

impl Layer {
    /// File systems that are all on the disk: `/var`, and nothing in it.
    pub(crate) fn new() -> Self {
        let var = BTreeMap::from([("var".to_owned(), 1)]);
        let dir = |names: Names| Node::Dir { seen: names.clone(), kept: names, pending: Vec::new() };
        Self::of(vec![dir(var), dir(Names::new())])
    }

    pub(crate) fn of(nodes: Vec<Node>) -> Self {
        Self(Arc::new(Mutex::new(Model { nodes, calls: 0, trouble: None, lie: None, tape: None })))
    }

    pub(crate) fn lying(self, lie: Option<Lie>) -> Self {
        self.model().lie = lie;
        self
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    /// How everything is.
    pub(crate) fn now(&self) -> Model {
        self.model().clone()
    }

    /// From now on, how everything was before each call is kept.
    pub(crate) fn record(&self) {
        self.model().tape = Some(Vec::new());
    }

    /// How everything was before each call, and how it is now.
    pub(crate) fn tape(&self) -> Vec<Model> {
        let mut model = self.model();
        let mut tape = model.tape.take().unwrap_or_default();
        tape.push(model.clone());
        tape
    }

    /// Something goes wrong so many changes from now; `None`: no longer.
    pub(crate) fn upset(&self, trouble: Option<Trouble>) {
        let mut model = self.model();
        model.trouble = trouble.map(|it| Trouble { at: model.calls + it.at, ..it });
    }

    /// Whether the process is gone.
    pub(crate) fn is_killed(&self) -> bool {
        let model = self.model();
        model.trouble.is_some_and(|it| it.kind == Kind::Killed && model.calls > it.at)
    }

    /// Another program overwrites a file, and that is on the disk. Whether the file exists.
    pub(crate) fn spoil(&self, path: &Path, garbage: &[u8]) -> bool {
        let mut model = self.model();
        let Ok(node) = model.find(path) else { return false };
        model.nodes[node] = Node::File { seen: garbage.to_vec(), kept: garbage.to_vec(), given_up: false };
        true
    }

    /// Every file's bytes below a directory, by name.
    pub(crate) fn contents(&self, dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let model = self.model();
        let Ok(node) = model.find(dir) else { return BTreeMap::new() };
        let Node::Dir { seen, .. } = &model.nodes[node] else { return BTreeMap::new() };
        let bytes = |node: usize| match &model.nodes[node] {
            Node::File { seen, .. } => seen.clone(),
            Node::Dir { .. } => Vec::new(),
        };
        seen.iter().map(|(name, node)| (name.clone(), bytes(*node))).collect()
    }

    /// Changes asked for so far.
    pub(crate) fn calls(&self) -> usize {
        self.model().calls
    }
}

impl Model {
    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = ROOT;
        for name in path.iter().skip(1) {
            let Node::Dir { seen, .. } = &self.nodes[at] else { return Err(ErrorKind::NotADirectory.into()) };
            at = *seen.get(name.to_str().unwrap()).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The directory a path is in, and its last name.
    fn place(&self, path: &Path) -> io::Result<(usize, String)> {
        Ok((self.find(path.parent().unwrap())?, path.file_name().unwrap().to_str().unwrap().to_owned()))
    }

    fn dir(&mut self, node: usize) -> (&mut Names, &mut Vec<Change>) {
        match &mut self.nodes[node] {
            Node::Dir { seen, pending, .. } => (seen, pending),
            Node::File { .. } => unreachable!("no directory"),
        }
    }

    /// A change is about to be made. `makes`: it needs room.
    fn call(&mut self, makes: bool) -> io::Result<()> {
        if let Some(mut tape) = self.tape.take() {
            tape.push(self.clone());
            self.tape = Some(tape);
        }
        let now = self.calls;
        self.calls += 1;
        match self.trouble {
            Some(Trouble { at, kind: Kind::Full }) if now >= at && makes => Err(ErrorKind::StorageFull.into()),
            Some(Trouble { at, kind: Kind::Broken }) if now == at => Err(io::Error::from_raw_os_error(5)),
            Some(Trouble { at, kind: Kind::Killed }) if now >= at => Err(ErrorKind::Interrupted.into()),
            Some(_) | None => Ok(()),
        }
    }

    fn make(&mut self, path: &Path, node: Node) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let new = self.nodes.len();
        let (seen, pending) = self.dir(dir);
        if seen.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        seen.insert(name.clone(), new);
        pending.push(Change::Made(name, new));
        self.nodes.push(node);
        Ok(())
    }
}

impl StoreFiles for Layer {
    fn is_dir(&self, path: &Path) -> bool {
        let model = self.model();
        model.find(path).is_ok_and(|it| matches!(model.nodes[it], Node::Dir { .. }))
    }

    fn make_dir(&self, path: &Path, _: u32) -> io::Result<()> {
        let mut model = self.model();
        model.call(true)?;
        model.make(path, Node::Dir { seen: Names::new(), kept: Names::new(), pending: Vec::new() })
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut model = self.model();
        let node = model.find(dir)?;
        Ok(model.dir(node).0.keys().cloned().collect())
    }

    fn read(&self, path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
        let model = self.model();
        match &model.nodes[model.find(path)?] {
            Node::File { seen, .. } if seen.len() as u64 > most_bytes => Err(ErrorKind::InvalidData.into()),
            Node::File { seen, .. } => Ok(seen.clone()),
            Node::Dir { .. } => Err(ErrorKind::InvalidData.into()),
        }
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut model = self.model();
        let fate = model.call(true);
        let some = if fate.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        if fate.as_ref().is_err_and(|it| it.kind() == ErrorKind::Interrupted) {
            return fate;
        }
        model.make(path, Node::File { seen: some.to_vec(), kept: Vec::new(), given_up: false })?;
        fate
    }

    fn append(&self, _: &Path, _: &[u8]) -> io::Result<u64> {
        unreachable!("no file of the state directory is appended to")
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut model = self.model();
        model.call(true)?;
        let ((dir, from), (_, to)) = (model.place(from)?, model.place(to)?);
        let (seen, pending) = model.dir(dir);
        let node = seen.remove(&from).ok_or(ErrorKind::NotFound)?;
        seen.insert(to.clone(), node);
        pending.push(Change::Moved(from, to, node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut model = self.model();
        let (dir, name) = model.place(path)?;
        if !model.dir(dir).0.contains_key(&name) {
            return Err(ErrorKind::NotFound.into());
        }
        model.call(false)?;
        let (seen, pending) = model.dir(dir);
        let node = seen.remove(&name).ok_or(ErrorKind::NotFound)?;
        pending.push(Change::Removed(name, node));
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut model = self.model();
        let node = model.find(path)?;
        let fate = model.call(false);
        let lie = model.lie;
        let ours = path.file_name().is_some_and(|it| it == "boardkeeper");
        match &mut model.nodes[node] {
            Node::File { given_up, .. } if fate.is_err() => *given_up = true,
            Node::File { given_up: true, .. } => (),
            Node::File { .. } if lie == Some(Lie::Bytes) => (),
            Node::File { seen, kept, .. } => kept.clone_from(seen),
            Node::Dir { .. } if fate.is_err() || lie == Some(if ours { Lie::Names } else { Lie::Above }) => (),
            Node::Dir { seen, kept, pending } => {
                kept.clone_from(seen);
                pending.clear();
            }
        }
        fate
    }

    fn is_writable_by_others(&self, _: &Path) -> bool {
        false
    }
}
