"""Makes the databases of this directory:   python3 make.py

The tables and columns are those that balena-supervisor 19.0.5 and a supervisor of 2017 have, in the order in which their
migrations make them, so that there are columns which were added to rows, renamed tables and composite keys. The rows are the
app that tests/engine/takeover.rs runs. Every key is made up.
"""

import json
import os
import sqlite3

HERE = os.path.dirname(os.path.abspath(__file__))
UUID = "0123456789abcdef0123456789abcdef"
APP = f"{300:032x}"
KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
WORKER_KEY = "a0b1c2d3e4f5061728394a5b6c7d8e9f"
CLOUD = "https://api.example.com"


def database(name, page_size=4096):
    path = os.path.join(HERE, name)
    if os.path.exists(path):
        os.remove(path)
    made = sqlite3.connect(path, isolation_level=None)
    made.execute(f"pragma page_size = {page_size}")
    return made


def service(number, name, image, **more):
    fields = {"image": image, "running": True, "environment": {}, "labels": {}, "composition": {}, **more}
    of_the_app = {"appId": 300, "appUuid": APP, "releaseId": 7, "commit": "c1", "imageId": number, "serviceId": number}
    return {**fields, **of_the_app, "serviceName": name}


SERVICES = [
    service(
        1,
        "web",
        "tests/takeover:rich",
        environment={"COLOUR": "blue"},
        labels={"io.balena.features.supervisor-api": "0", "mine": "yes"},
        composition={"volumes": ["data:/data"], "ports": ["8080:80"], "expose": ["9000"], "restart": "always"},
    ),
    service(
        2,
        "worker",
        "tests/takeover:plain",
        labels={"io.balena.features.supervisor-api": "1"},
        composition={
            "cap_add": ["NET_ADMIN"],
            "devices": ["/dev/null:/dev/mine"],
            "tmpfs": ["/scratch"],
            "ulimits": {"nofile": 512},
            "stop_signal": "SIGINT",
            "depends_on": ["web"],
            "network_mode": "host",
        },
        # Long enough that the row takes more pages than one.
        contract={"type": "sw.container", "slug": "worker", "description": "w" * 9000},
    ),
]


def today(name, apps, page_size=4096):
    made = database(name, page_size)
    for sql in (
        "create table `knex_migrations` (`id` integer not null primary key autoincrement, `name` varchar(255), `batch` integer)",
        "create table `config` (`key` varchar(255), `value` varchar(255), primary key (`key`))",
        "create table `deviceConfig` (`targetValues` json)",
        "create table `app` (`id` integer not null primary key autoincrement, `name` varchar(255), `releaseId` integer, "
        "`commit` varchar(255), `appId` integer, `services` json, `networks` json, `volumes` json)",
        "alter table `app` add column `source` varchar(255)",
        "create table `image` (`id` integer not null primary key autoincrement, `name` varchar(255), `appId` integer, "
        "`serviceId` integer, `serviceName` varchar(255), `imageId` integer, `releaseId` integer, `dockerImageId` varchar(255), "
        "`appUuid` varchar(255), `commit` varchar(255))",
        "create table `_knex_temp` (`id` integer not null primary key autoincrement, `appId` integer, `key` varchar(255), "
        "`scopes` varchar(255), `serviceName` varchar(255))",
        "alter table `_knex_temp` rename to `apiSecret`",
        "create unique index `apisecret_appid_servicename_unique` on `apiSecret` (`appId`, `serviceName`)",
        "create table `engineSnapshot` (`snapshot` varchar(255), `timestamp` varchar(255))",
        "create table `currentCommit` (`id` integer, `appId` integer not null, `commit` varchar(255) not null, primary key (`id`))",
        "create unique index `currentcommit_appid_unique` on `currentCommit` (`appId`)",
    ):
        made.execute(sql)
    # A row of before the columns that follow: it has fewer values.
    made.execute("insert into app (name, appId, services, networks, volumes, source) values ('old', 9, '[]', '{}', '{}', 'local')")
    for sql in (
        "alter table `app` add column `uuid` varchar(255)",
        "create unique index `app_uuid_unique` on `app` (`uuid`)",
        "alter table `app` add column `class` varchar(255) default 'fleet'",
        "alter table `app` add column `isHost` boolean default '0'",
        "alter table `app` add column `rejected` boolean default '0'",
    ):
        made.execute(sql)
    for key, value in (("name", "kitchen"), ("localMode", "false"), ("targetStateSet", "true"), ("deltaVersion", "3")):
        made.execute("insert into config values (?, ?)", (key, value))
    settings = {"SUPERVISOR_POLL_INTERVAL": "900000", "SUPERVISOR_LOG_CONTROL": "true"}
    made.execute("insert into deviceConfig values (?)", (json.dumps(settings),))
    for app in apps:
        columns = ", ".join(f"`{it}`" for it in app)
        made.execute(f"insert into app ({columns}) values ({', '.join('?' * len(app))})", list(app.values()))
    for app_id, name, key, scope in (
        (0, None, KEY, {"type": "global"}),
        (300, "worker", WORKER_KEY, {"type": "app", "appId": 300}),
        (8, "gone", "b" * 16 + "c" * 16, {"type": "app", "appId": 8}),
    ):
        columns = (app_id, name, key, json.dumps([scope]))
        made.execute("insert into apiSecret (appId, serviceName, key, scopes) values (?, ?, ?, ?)", columns)
    made.execute("insert into currentCommit (appId, `commit`) values (300, 'c0')")
    for number in range(40):
        made.execute("insert into knex_migrations (name, batch) values (?, 1)", (f"M{number:05}.js " + "x" * 200,))
    made.close()


def app(**more):
    return {
        "name": "app",
        "releaseId": 7,
        "commit": "c1",
        "appId": 300,
        "uuid": APP,
        "services": json.dumps(SERVICES),
        "networks": "{}",
        "volumes": '{"data": {}}',
        "source": CLOUD,
        "class": "fleet",
        "isHost": 0,
        "rejected": 0,
        **more,
    }


def host():
    return app(name="host", appId=1, uuid="f" * 32, **{"class": "app"}, isHost=1, services="[]", volumes="{}")


def of_2017(name):
    made = database(name, 1024)
    for sql in (
        "create table config (key text, value text)",
        "create table deviceConfig (\"values\" json, targetValues json)",
        "create table app (id integer primary key, name text, containerName text, [commit] text, imageId text, appId text, "
        "privileged boolean, env json, config json, markedForDeletion boolean)",
    ):
        made.execute(sql)
    for row in (("uuid", UUID), ("name", "kitchen"), ("apiSecret", KEY * 2), ("apiKey", "d" * 31 + "e"), ("userId", "7")):
        made.execute("insert into config values (?, ?)", row)
    env = {"COLOUR": "blue", "RESIN_APP_ID": "300", "RESIN": "1", "USER": "root", "RESIN_SUPERVISOR_API_KEY": KEY * 2}
    config = {"RESIN_SUPERVISOR_POLL_INTERVAL": "60000"}
    made.execute("insert into deviceConfig values ('{}', '{}')")
    made.execute(
        "insert into app values (1, 'app', 'made', 'c1', 'tests/takeover:rich', '300', 1, ?, ?, 0)",
        (json.dumps(env), json.dumps(config)),
    )
    made.execute("insert into app values (2, 'gone', 'made2', 'c0', 'tests/takeover:plain', '301', 1, '{}', '{}', 1)")
    made.close()


today("supervisor-19.sqlite", [app(), host()])
today("several-clouds.sqlite", [app(), app(appId=400, uuid=f"{400:032x}", source="https://api.other.example", services="[]")], 512)
today("no-target.sqlite", [], 512)
of_2017("supervisor-2017.sqlite")
