//! Databases that `SQLite` itself made (`tests/data/take-over/make.py`), and damaged ones.

use super::*;

use std::fs;

use proptest::prelude::*;

const TODAY: &[u8] = include_bytes!("../../../../tests/data/take-over/supervisor-19.sqlite");
const SMALL_PAGES: &[u8] = include_bytes!("../../../../tests/data/take-over/several-clouds.sqlite");
const OF_2017: &[u8] = include_bytes!("../../../../tests/data/take-over/supervisor-2017.sqlite");
const TABLES: [&str; 9] = [
    "sqlite_sequence",
    "knex_migrations",
    "config",
    "deviceConfig",
    "app",
    "image",
    "apiSecret",
    "currentCommit",
    "engineSnapshot",
];

fn rows(bytes: &[u8], table: &str) -> Vec<Row> {
    Database::parse(bytes.to_vec()).unwrap().table(table).unwrap().unwrap()
}

#[test]
fn rows_of_trees_of_one_level_and_of_several_are_read_in_order() {
    for bytes in [TODAY, SMALL_PAGES] {
        let rows = rows(bytes, "knex_migrations");
        let ids: Vec<_> = rows.iter().map(|it| it.int("id").unwrap()).collect();
        assert_eq!(ids, (1..=40).collect::<Vec<_>>());
        assert!(rows.iter().zip(0..).all(|(row, n)| row.text("name") == Some(&format!("M{n:05}.js {}", "x".repeat(200)))));
        assert!(rows.iter().all(|it| it.int("batch") == Some(1)));
    }
}

#[test]
fn a_row_that_takes_many_pages_is_read_whole() {
    for bytes in [TODAY, SMALL_PAGES] {
        let apps = rows(bytes, "app");
        let services = apps[1].text("services").unwrap();
        assert!(services.len() > 9000 && services.ends_with("\"serviceName\": \"worker\"}]"), "{services}");
        assert!(services.contains(&"w".repeat(9000)));
        assert_eq!((apps[1].text("class"), apps[1].int("isHost"), apps[1].int("appId")), (Some("fleet"), Some(0), Some(300)));
    }
}

#[test]
fn columns_that_were_added_after_a_row_have_no_value_in_it() {
    let apps = rows(TODAY, "app");
    assert_eq!((apps[0].text("name"), apps[0].int("appId"), apps[0].text("source")), (Some("old"), Some(9), Some("local")));
    assert!(apps[0].has("uuid") && !apps[0].has("nothing"));
    assert_eq!((apps[0].text("uuid"), apps[0].int("isHost"), apps[0].text("releaseId")), (None, None, None));
}

#[test]
fn tables_are_found_under_their_new_names_and_empty_ones_too() {
    let secrets = rows(TODAY, "apiSecret");
    assert_eq!(secrets.iter().map(|it| it.int("appId").unwrap()).collect::<Vec<_>>(), [0, 300, 8]);
    assert_eq!(secrets[0].text("serviceName"), None);
    assert!(rows(TODAY, "image").is_empty());
    let database = Database::parse(TODAY.to_vec()).unwrap();
    for none in ["_knex_temp", "apisecret_appid_servicename_unique", ""] {
        assert!(database.table(none).unwrap().is_none(), "{none}");
    }
    assert_eq!(rows(OF_2017, "app")[0].int("appId"), Some(300), "a text that is a number");
}

#[test]
fn definitions_of_tables_are_understood() {
    let names = |sql: &str| schema::columns(sql).map(|it| it.into_iter().map(|it| (it.name, it.is_rowid)).collect::<Vec<_>>());
    let column = |name: &str, is_rowid: bool| (name.to_owned(), is_rowid);
    assert_eq!(
        names(
            "CREATE TABLE IF NOT EXISTS \"a(\" ( [one two] integer  not null primary key, `b``c` varchar(2, 5) default 'x,)', \"primary\" int, 'd' , CONSTRAINT k PRIMARY KEY (a, b), unique (d), check (a > 1))"
        ),
        Some(vec![column("one two", true), column("b`c", false), column("primary", false), column("d", false)])
    );
    assert_eq!(
        names("create table t (a text primary key, b INT PRIMARY KEY)"),
        Some(vec![column("a", false), column("b", false)])
    );
    for wrong in [
        "",
        "create table t",
        "create table t (",
        "create table t (a",
        "create table t (\"a)",
        "create table t (a) without rowid",
        "create table t ())",
        "create table t (,)",
    ] {
        assert_eq!(names(wrong), None, "{wrong}");
    }
}

#[test]
fn numbers_of_every_length_are_read() {
    for (bytes, number) in [
        (&[0x00][..], 0),
        (&[0x7f], 127),
        (&[0x81, 0x00], 128),
        (&[0xff, 0x7f], 16_383),
        (&[0xff; 9], -1),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x05], 5),
    ] {
        assert_eq!(record::varint(bytes).unwrap(), (number, &[][..]), "{bytes:?}");
        assert!(record::varint(&bytes[..bytes.len() - 1]).is_err(), "{bytes:?}");
    }
}

#[test]
fn an_unfinished_transaction_is_refused_and_a_finished_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("database.sqlite");
    fs::write(&path, TODAY).unwrap();
    let (journal, log) = (dir.path().join("database.sqlite-journal"), dir.path().join("database.sqlite-wal"));
    let magic = [&JOURNAL_MAGIC[..], &[0; 20]].concat();
    for (beside, content, is_refused) in [
        (&journal, &magic[..], true),
        (&journal, &[0; 28][..], false),
        (&journal, &[], false),
        (&log, &[0x37, 0x7f, 6, 0x82, 0, 0], true),
        (&log, &[], false),
    ] {
        fs::write(beside, content).unwrap();
        let opened = Database::open(&path);
        assert_eq!(opened.is_err(), is_refused, "{}: {content:?}", beside.display());
        if let Err(why) = opened {
            let why = why.to_string();
            assert!(why.contains(beside.to_str().unwrap()) && why.contains("start the old supervisor once more"), "{why}");
        }
        fs::remove_file(beside).unwrap();
    }
    let missing = Database::open(&dir.path().join("none")).unwrap_err().to_string();
    assert!(missing.contains("none") && missing.contains("No such file"), "{missing}");
    assert!(Database::open(dir.path()).unwrap_err().to_string().contains("not a file"));
}

#[test]
fn what_is_no_database_is_said_to_be_none() {
    let changed = |at: usize, byte: u8| {
        let mut bytes = TODAY.to_vec();
        bytes[at] = byte;
        bytes
    };
    // The page size, a format of the future, reserved bytes, and UTF-16.
    for bytes in [Vec::new(), TODAY[..99].to_vec(), changed(0, b's'), changed(17, 3), changed(19, 3), changed(59, 2)] {
        assert!(matches!(Database::parse(bytes), Err(SqliteError::Damaged(_))));
    }
    let mut small = SMALL_PAGES.to_vec();
    small[20] = 40;
    assert!(matches!(Database::parse(small), Err(SqliteError::Damaged(_))));
    // A tree whose root is its own child never ends by itself.
    let mut ring = SMALL_PAGES.to_vec();
    let schema_child = 100 + 8;
    ring[100] = 0x05;
    ring[schema_child..schema_child + 4].copy_from_slice(&1_u32.to_be_bytes());
    assert!(matches!(Database::parse(ring).unwrap().table("app"), Err(SqliteError::Damaged(_))));
}

fn read_all(bytes: Vec<u8>) {
    let Ok(database) = Database::parse(bytes) else { return };
    for table in TABLES {
        let _ = database.table(table);
    }
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_read_or_refused() {
    for length in (0..SMALL_PAGES.len()).step_by(61) {
        read_all(SMALL_PAGES[..length].to_vec());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_it_panic_or_go_on_for_ever(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        which in 0_usize..3,
    ) {
        let mut bytes = [TODAY, SMALL_PAGES, OF_2017][which].to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_all(bytes);
    }

    #[test]
    fn any_bytes_after_the_header_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 412..4096)) {
        read_all([&SMALL_PAGES[..100], &[0x0d], &body].concat());
    }
}
