//! The record of the data of volumes that is kept while releases are on trial.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use crate::sorted::SortedMap;
use crate::state::{AppId, DataState, KeptData};

#[derive(Serialize, Deserialize)]
pub(super) struct KeptDataFile {
    /// By app.
    apps: SortedMap<u32, KeptDataEntry>,
}

#[derive(Serialize, Deserialize)]
struct KeptDataEntry {
    /// The fingerprint of the release whose data it is.
    release: String,
    begun: bool,
    /// A word for each volume.
    volumes: SortedMap<String, StateWord>,
}

#[derive(Serialize)]
struct StateWord(&'static str);

impl<'de> Deserialize<'de> for StateWord {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = String::deserialize(from)?;
        let state = DataState::named(&word).ok_or_else(|| D::Error::custom("kept, absent or putting_back is expected"))?;
        Ok(Self(state.word()))
    }
}

impl KeptDataFile {
    pub(super) fn of(kept: &SortedMap<AppId, KeptData>) -> Self {
        let entry = |it: &KeptData| KeptDataEntry {
            release: it.release.clone(),
            begun: it.begun,
            volumes: it.volumes.iter().map(|(name, state)| (name.clone(), StateWord(state.word()))).collect(),
        };
        Self { apps: kept.iter().map(|(app, it)| (app.0, entry(it))).collect() }
    }

    pub(super) fn into_state(self) -> SortedMap<AppId, KeptData> {
        let volume = |(name, word): (String, StateWord)| Some((name, DataState::named(word.0)?));
        let state = |it: KeptDataEntry| KeptData {
            release: it.release,
            begun: it.begun,
            volumes: it.volumes.into_iter().filter_map(volume).collect(),
        };
        self.apps.into_iter().map(|(app, it)| (AppId(app), state(it))).collect()
    }
}
