//! Coverage marks: each fault and each recovery that lives hit, counted, so that one that is no longer covered is noticed.

use std::fmt::Write as _;

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident $words:literal)*) => {
        /// A fault, request or recovery that a life may hit.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Mark {
            $($(#[$doc])* $name,)*
        }

        /// Every mark, in words, in the order of [`Mark`].
        pub(crate) const ALL: &[(Mark, &str)] = &[$((Mark::$name, $words),)*];
    };
}

marks! {
    EngineSaysNo "engine: a call fails, and nothing was done"
    AnswerLost "engine: a call has its effect, and fails"
    EngineHangs "engine: a call hangs, and nothing was done"
    AnswerHangs "engine: a call has its effect, and its answer hangs"
    EngineDies "engine: it dies, and is started again"
    CallOutlivesEngine "engine: it is another one before a call is answered"
    ApiRises "engine: it comes back with another API version"
    DeedHalfDone "engine: a deed is dropped while the engine is at it"
    DeedDoneLate "engine: a deed is done when its agent is gone"
    EventLost "engine: an event is lost"
    CreateRefused "engine: a container cannot be created"
    StartRefused "engine: a container cannot be started"
    RemovalStuck "engine: a container can be neither kept nor removed"
    PullBreaks "engine: a pull breaks off"
    TokenExpires "engine: the registry's token expires in mid-pull"
    NoRoom "engine: an image does not fit"
    UpdateTooLarge "engine: an update's images do not fit beside each other"
    Exits "containers: one ends by itself"
    OutOfMemory "containers: one is killed for its memory"
    Healthy "containers: one becomes healthy"
    Unhealthy "containers: one becomes unhealthy"
    ReleaseProved "releases: one is proven good on trial"
    ReleaseRolledBack "releases: one fails, and its app goes back"
    ReleaseFailed "releases: one fails, and there is none to go back to"
    DataKept "releases: the data of a volume is copied before one begins"
    DataPutBack "releases: the data of a volume is put back"
    RemovedByHand "containers: one is removed by hand"
    StoppedByHand "containers: one is stopped by hand"
    ImageByHand "containers: an image is deleted by hand"
    Stranger "containers: somebody else's appear"
    Squatter "containers: somebody else's takes a name of ours"
    DiskFull "disk: it is full"
    DiskReadOnly "disk: it is read-only"
    SaveFails "disk: a save fails, and the old record stays"
    SaveLies "disk: a save fails, and the new record is kept"
    SaveSlow "disk: a save takes seconds"
    SaveCutOld "disk: a save is cut off, and the old record stays"
    SaveCutNew "disk: a save is cut off, and the new record is kept"
    SaveTorn "disk: a save is cut off, and a torn file is left"
    RecordSpoiled "disk: a record cannot be read any more"
    LoadFails "disk: it cannot be read"
    CrashInCall "cut: the agent is killed in a call to the world"
    CrashAtAwait "cut: the agent is killed at any await"
    PowerAtAwait "cut: the power goes at any await"
    CutAtStart "cut: before the agent has read what was saved"
    CutInDeed "cut: while the engine does something for the agent"
    CutInSave "cut: while something is being saved"
    CutInLed "cut: while the LED is not as it was"
    CutInLock "cut: while the agent holds update locks"
    CutInEnd "cut: while the machine is about to end"
    CutByPower "cut: the board loses its power"
    Reboots "cut: the machine reboots in good order"
    ClockAhead "clock: it jumps ahead"
    ClockBack "clock: it jumps back"
    Nonsense "targets: a document is nonsense"
    OldDocument "targets: an old document comes again"
    EmptyDocument "targets: a document wants nothing"
    LockedByUser "locks: a service takes its lock"
    LockRefused "locks: one that is wanted is held by somebody"
    LockForced "locks: one is taken away by force"
    LockFails "locks: the file system says no"
    LeaseAsked "people: lease an app"
    LeaseGranted "leases: one is granted"
    LeaseBusy "leases: one is refused while the agent changes the app"
    LeaseForced "leases: one is overridden by force"
    LeaseReturned "leases: one is given back"
    CutInLease "cut: the agent is killed while a lease lasts"
    SaidLeased "answer: leased"
    WindowAwaited "windows: an update waits for one"
    WindowOpen "windows: one is open, and its service is changed"
    WindowForced "windows: an update goes on outside by force"
    LockHalfTaken "locks: taking them is cut off half-way"
    LedFails "LED: its driver says no"
    LedLies "LED: its driver does as told, and says no"
    LedHangs "LED: its driver hangs"
    LedUnplugged "LED: it is pulled out"
    LedTaken "LED: somebody else sets its trigger"
    LedBench "LED: somebody tries LEDs out"
    EndRefused "power: whoever is asked refuses at once"
    EndRefusedLate "power: whoever said that it can be refuses"
    EndHangs "power: nobody answers"
    EndHangsLate "power: nobody answers any more when it is asked for"
    EndVanishes "power: whoever is asked goes away"
    EndNobody "power: there is nobody to ask"
    EndBlocked "power: somebody holds it up"
    HostUpdating "power: the host's system is being updated"
    BootWanted "power: a host that was configured anew wants a boot"
    EndForgotten "power: it is accepted, and nothing comes of it"
    EndCalledOff "power: it is announced, and called off"
    EndByOthers "power: somebody else ends the machine"
    Offline "net: the cloud is not reached"
    DialHangs "net: a connection hangs"
    CloudHangs "cloud: it does not answer"
    CloudForeign "cloud: a login page answers in its place"
    CloudBusy "cloud: it asks to wait"
    CloudDown "cloud: it fails"
    CloudAnswerLost "cloud: it does what is asked, and its answer is lost"
    CloudStale "cloud: a cache gives an old target"
    CloudForgets "cloud: it does not have the device for a while"
    CloudUnchanged "cloud: the target is as it was"
    CloudTarget "cloud: it gives a target"
    Registered "cloud: the device is registered"
    RegisteredAlready "cloud: the device is registered again"
    KeyExchanged "cloud: the device's key is exchanged"
    Reported "cloud: it accepts a report"
    ReportRefused "cloud: it refuses a part of a report"
    LinesUploaded "cloud: it accepts lines of logs"
    LineRepeated "cloud: it gets a line again after a cut or a lost answer"
    ProvisioningFails "host: config.json cannot be written"
    CutInProvisioning "cut: while config.json is being written"
    AccountSpoiled "disk: the account cannot be read any more"
    VpnUp "net: the VPN comes up"
    VpnDown "net: the VPN goes down"
    Moves "host: its addresses change"
    BootFileFails "host: its boot configuration cannot be read or written"
    CutInBootFile "cut: while the boot configuration is being written"
    HostSaysNo "host: it cannot be configured"
    JournalKept "host: it keeps its journal over boots"
    JournalForgotten "host: it no longer keeps its journal over boots"
    HostSlow "host: to configure it takes minutes"
    Restart "people: restart an app"
    Purge "people: purge an app"
    Stop "people: stop a service"
    Start "people: start a service"
    StartAnew "people: restart a service"
    Update "people: look for an update"
    UpdateForced "people: update by force"
    UpdateAnew "people: begin downloads anew"
    RenewKey "people: make the device's key anew"
    RenewServiceKey "people: make a service's key anew"
    OldKey "people: come with a key that is not one"
    Reboot "people: reboot"
    PowerOff "people: shut down"
    Blink "people: blink"
    CheckOn "people: have connectivity checked"
    CheckOff "people: have it not checked"
    NameHost "people: configure the host"
    ReadHost "people: read how the host is configured"
    Read "people: read something"
    Garbled "people: send what is no JSON"
    ViewsCompared "people: compare what the API's views of the device say"
    LocalModeOn "people: switch local mode on"
    LocalModeOff "people: switch local mode off"
    HookSucceeds "services: a hook before an update succeeds"
    UpdateAfterHook "services: an update follows the hook that succeeded for it"
    HookHangs "services: a hook before an update hangs"
    Push "people: push a target"
    TryTarget "people: try a target"
    KeepTarget "people: keep the target on trial"
    EndTrial "people: go back from the target on trial"
    HangUp "people: hang up before the answer"
    Answered "answer: done"
    SaidLocked "answer: locked"
    SaidEnding "answer: the machine is about to end"
    SaidFailed "answer: it went wrong"
    SaidBad "answer: the request is bad"
    StartedAgain "recovery: the agent is started again"
    EngineBack "recovery: the engine answers again"
    SavedAgain "recovery: what could not be saved is saved later"
    IdentityKept "recovery: the device is the same after a cut"
    CreatedFound "recovery: a container is found created already"
    OrphanStarted "recovery: one that an agent before created is started"
    LockGivenBack "recovery: locks that an agent before took are given back"
    HandOverFinished "recovery: a hand-over that an agent before began is finished"
    PutBack "recovery: the LED of an agent before is put back"
    TheirsStays "recovery: an LED that somebody else set stays as they set it"
    GoesOn "recovery: the machine does not end, and everything goes on"
    BootAwaited "recovery: a service that waited for a boot is started by it"
    BootHad "recovery: a host that was configured anew has its boot"
    BootedAnew "recovery: the machine boots with a new boot configuration"
    PulledAgain "recovery: a pull that broke off is begun again"
    OnlineAgain "recovery: the cloud is reached again"
    ConditionHeld "depends_on: one is started once its condition holds"
    DependentRestarted "depends_on: one is restarted after its dependency was made anew"
    Blocked "depends_on: one waits for what does not come, and says so"
    PushedRuns "local mode: what was pushed runs"
    PushedRemoved "local mode: what was pushed is removed"
    CutInLocalMode "cut: in local mode"
    CutInTrial "cut: while a target is on trial"
    Settled "recovery: everything is as wanted in the end"
}

/// How often each mark was hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally(Vec<u64>);

impl Default for Tally {
    fn default() -> Self {
        Self(vec![0; ALL.len()])
    }
}

impl Tally {
    /// Counts a mark.
    pub(crate) fn hit(&mut self, what: Mark) {
        self.0[what as usize] += 1;
    }

    /// Adds the counts of other lives.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// As a line, for another process.
    pub(crate) fn line(&self) -> String {
        self.0.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
    }

    /// Parses such a line. `None`: it is no such line, or one of another version.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let counts: Option<Vec<_>> = line.split_whitespace().map(|it| it.parse().ok()).collect();
        counts.filter(|it| it.len() == ALL.len()).map(Self)
    }

    /// How many kinds there are.
    pub(crate) fn kinds(&self) -> usize {
        self.0.len()
    }

    /// The marks that were never hit, in words.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        ALL.iter().filter(|(what, _)| self.0[*what as usize] == 0).map(|(_, words)| *words).collect()
    }

    /// The counts, a line each.
    pub(crate) fn table(&self) -> String {
        ALL.iter().fold(String::new(), |mut text, (what, words)| {
            writeln!(text, "{:>12}  {words}", self.0[*what as usize]).unwrap();
            text
        })
    }
}
