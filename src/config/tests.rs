//! Where settings come from, and which are refused.

use expect_test::{Expect, expect};

use super::*;

fn load(flags: Given, file: Option<&str>, env: &[&str]) -> Result<ServeConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outlive.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let env = env.iter().map(OsString::from);
    ServeConfig::load(flags, file.map(|_| path.as_path()), env)
        .map_err(|why| why.to_string().replace(&*path.to_string_lossy(), "FILE"))
}

fn check_bad(file: &str, expected: Expect) {
    expected.assert_eq(&load(Given::default(), Some(file), &[]).unwrap_err());
}

#[test]
fn a_node_needs_no_configuration() {
    let config = load(Given::default(), None, &["PATH", "OUTLIVE_URL"]).unwrap();
    assert_eq!(config.node_id, 1);
    assert_eq!(config.listen.to_string(), "127.0.0.1:4437");
    assert!(config.members.is_empty());
    assert_eq!(config.peer_listen, None);
}

#[test]
fn what_is_given_beats_the_file_and_the_file_beats_the_default() {
    let flags = Given { groups: Some(3), ..Given::default() };
    let config = load(flags, Some("groups = 4\ncluster = \"a\""), &[]).unwrap();
    assert_eq!((config.groups, config.cluster.as_str()), (3, "a"));
    assert_eq!(config.heartbeat_ms, HEARTBEAT_MS);
}

#[test]
fn a_cluster_is_described_whole() {
    let file = r#"
        node_id = 2
        tls_dir = "tls"
        member = ["2=127.0.0.1:5002@http://127.0.0.1:4438/", "1=127.0.0.1:5001@http://127.0.0.1:4437"]
    "#;
    let config = load(Given::default(), Some(file), &[]).unwrap();
    assert_eq!(config.peer_listen.unwrap().to_string(), "127.0.0.1:5002");
    assert_eq!(config.members.iter().map(|member| member.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(config.members[1].http, "http://127.0.0.1:4438");
}

#[test]
fn what_is_not_known_or_not_possible_is_named() {
    check_bad(
        "node_idd = 1",
        expect![[r#"
            FILE: TOML parse error at line 1, column 1
              |
            1 | node_idd = 1
              | ^^^^^^^^
            unknown field `node_idd`, expected one of `node_id`, `listen`, `peer_listen`, `data_dir`, `cluster`, `member`, `join`, `tls_dir`, `groups`, `heartbeat_ms`, `election_min_ms`, `election_max_ms`, `checkpoint_entries`, `long_poll_ms`, `file_keep_ms`, `erase_within_ms`, `webhook_reach`, `allow_host`, `allow_origin`, `public_url`, `trust_proxy`, `admin_listen`, `root_key`, `tls_cert`, `tls_key`, `insecure`, `log`, `agent`, `agents`, `issuers`, `quotas`"#]],
    );
    check_bad("node_id = 0", expect!["node_id begins at 1"]);
    check_bad("groups = 0", expect!["groups must be 1 to 64"]);
    check_bad(
        "cluster = \"a b\"",
        expect!["cluster must have 1 to 64 letters, digits, '-', '_' or '.'"],
    );
    check_bad("heartbeat_ms = 300", expect!["election_min_ms must be at least twice heartbeat_ms"]);
    check_bad(
        "election_max_ms = 300",
        expect!["election_max_ms must be more than election_min_ms"],
    );
    check_bad("peer_listen = \"127.0.0.1:1\"", expect!["peer_listen is given, but no member"]);
    check_bad(
        "member = [\"1=a\"]",
        expect![[r#"member "1=a" is not of the form ID=HOST:PORT@HTTPURL"#]],
    );
    let one = "member = [\"1=h:1@http://h\"]\n";
    check_bad(one, expect!["node_id is needed where there are members"]);
    check_bad(&format!("{one}node_id = 2"), expect!["node_id 2 is not among the members"]);
    check_bad(
        &format!("{one}node_id = 1"),
        expect!["tls_dir is needed where there are members: see outlive dev-certs"],
    );
    check_bad(
        &format!("{one}node_id = 1\ntls_dir = \"t\""),
        expect![[r#"peer_listen is needed: "h:1" is no address to listen on"#]],
    );
    check_bad(
        &format!("{one}node_id = 1\ntls_dir = \"t\"\njoin = true\npeer_listen = \"127.0.0.1:1\""),
        expect!["join needs the members: this node, and one or more of the cluster"],
    );
    let service = ["OUTLIVE_SERVICE_HOST", "OUTLIVE_PORT", "OUTLIVE_PORT_4437_TCP_ADDR"];
    assert!(load(Given::default(), None, &service).is_ok());
    let typo = load(Given::default(), None, &["OUTLIVE_LISTNE"]).unwrap_err();
    expect!["the environment variable OUTLIVE_LISTNE is not known"].assert_eq(&typo);
}

#[test]
fn every_flag_has_its_variable() {
    use clap::CommandFactory;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        _given: Given,
    }
    let command = Flags::command();
    for flag in command.get_arguments() {
        let long = flag.get_long().unwrap();
        let name = format!("OUTLIVE_{}", long.to_uppercase().replace('-', "_"));
        assert_eq!(flag.get_env().unwrap(), &*name);
        assert!(variables::VARIABLES.contains(&&*name), "{name} is not in the table");
    }
}

#[test]
fn a_node_that_everybody_reaches_asks_who_they_are_or_is_told_aloud_not_to() {
    let open = "listen = \"0.0.0.0:4437\"\n";
    let why = load(Given::default(), Some(open), &[]).unwrap_err();
    assert!(why.contains("root_key") && why.contains("insecure"), "{why}");
    assert!(load(Given::default(), Some(&format!("{open}insecure = true")), &[]).is_ok());
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("key");
    std::fs::write(&place, "too short").unwrap();
    let keyed = format!("{open}root_key = {place:?}");
    let why = load(Given::default(), Some(&keyed), &[]).unwrap_err();
    expect!["root_key must have 32 to 4096 visible ASCII characters"].assert_eq(&why);
    std::fs::write(&place, format!("{}\n", "k".repeat(32))).unwrap();
    let config = load(Given::default(), Some(&keyed), &[]).unwrap();
    assert!(config.root_key.as_ref().is_some_and(|key| key.is(&"k".repeat(32))));
    assert!(!format!("{config:?}").contains("kkkk"), "secrets are not shown");
    for (text, why) in [("k".repeat(4097), "32 to 4096"), ("k".repeat(9000), "it holds no secret")]
    {
        std::fs::write(&place, text).unwrap();
        assert!(load(Given::default(), Some(&keyed), &[]).unwrap_err().contains(why));
    }
    let pipe = dir.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let piped = format!("{open}root_key = {pipe:?}");
    let why = load(Given::default(), Some(&piped), &[]).unwrap_err();
    assert!(why.ends_with("pipe is no file"), "{why}");
    check_bad(
        "root_key = \"env:NOT_SET_AT_ALL\"",
        expect!["root_key: the environment variable NOT_SET_AT_ALL is not set"],
    );
    check_bad(
        "[[issuers]]\nissuer = \"a\"\naudience = \"b\"",
        expect![[r#"issuer "a" needs either jwks or secret"#]],
    );
    let one = "[[issuers]]\nissuer = \"a\"\naudience = \"b\"\njwks = \"c\"\n";
    check_bad(&one.repeat(2), expect![[r#"the issuer "a" is given twice"#]]);
    check_bad(
        &one.replace("\"b\"", "\"\""),
        expect!["an issuer needs issuer and audience, as its tokens say them"],
    );
}
