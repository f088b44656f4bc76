//! A real browser against TLS: Chromium, headless, in a page that follows twenty sessions while its node is killed,
//! gets another ticket when one ends, and goes on with a cookie. It skips aloud where there is no Chromium.

mod place;

use std::time::Duration;

use harness::browser::{chromium, open};
use harness::cluster::Cluster;
use harness::load::eventually;
use place::{Balancer, Product, certify};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

const ROOT: &str = "root-0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(120);
/// Streams in the page; a browser has six connections for a host, where each needs one.
const STREAMS: usize = 20;

/// The next thing that the page reports, which is to be this.
async fn reported(reports: &mut mpsc::Receiver<Value>, name: &str) -> Value {
    let report = timeout(PATIENCE, reports.recv()).await;
    let report = report.unwrap_or_else(|_| panic!("waited in vain for {name}"));
    let report = report.expect("the page's server runs");
    assert_eq!(report["name"], name, "{report}");
    report["value"].clone()
}

/// Three nodes that serve clients by TLS, on these ports.
async fn start(flags: &[&str], http: &reqwest::Client) -> (Cluster, Vec<u16>) {
    // The harness asks without TLS whether they are ready, so they begin without.
    let mut cluster = Cluster::up(3, &["--root-key", flags[1]]).await;
    let port = |url: String| url.rsplit(':').next().and_then(|port| port.parse().ok());
    let ports: Vec<u16> = cluster.urls().into_iter().filter_map(port).collect();
    cluster.add_flags(&flags[2..]);
    for node in 1..=3 {
        cluster.kill(node);
    }
    for node in 1..=3 {
        cluster.start(node);
    }
    for port in &ports {
        eventually("a node is ready", async || {
            let ready = http.get(format!("https://localhost:{port}/readyz")).send().await;
            ready.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }
    (cluster, ports)
}

async fn append(product: &Product, text: &str, sessions: usize) {
    for number in 0..sessions {
        let session = format!("s{number}");
        eventually("it is taken", async || product.append(&session, text).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_follows_its_sessions_by_tls_through_deaths_and_ends() {
    let Some(browser) = chromium() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let certified = certify(dir.path());
    let root = dir.path().join("root.key");
    std::fs::write(&root, ROOT).expect("it is written");
    let page = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let own = format!("https://localhost:{}", page.local_addr().expect("it is bound").port());
    outlive::tls::install();
    let authority = reqwest::Certificate::from_pem(&certified.authority).expect("it is one");
    let http = reqwest::Client::builder().tls_certs_only([authority]).timeout(PATIENCE);
    let http = http.build().expect("a client");
    let tls = ["--tls-cert", &certified.cert, "--tls-key", &certified.key];
    let flags =
        [&["--root-key", root.to_str().expect("a path")][..], &tls, &["--allow-origin", &own]];
    let (mut cluster, ports) = start(&flags.concat(), &http).await;

    let mut tasks = JoinSet::new();
    let balancer = Balancer::start(ports.clone(), &mut tasks).await;
    let (reports, mut reports_of_page) = mpsc::channel(16);
    let url = format!("https://localhost:{}", balancer.port);
    let pages = [
        ("/", include_str!("page.html").replace("NODE", &url)),
        ("/stranger", include_str!("stranger.html").replace("NODE", &url)),
    ];
    // The product asks the node that stays.
    let node = format!("https://localhost:{}", ports[2]);
    let product = Product { http, node, root: ROOT, pages, reports };
    for number in 0..STREAMS {
        let path = format!("sessions/s{number}");
        eventually("a session is there", async || {
            [200, 201].contains(&product.ask(Method::PUT, &path, &json!({})).await.0)
        })
        .await;
    }
    // The authority is the test's own: it is in no store, and is trusted by its key.
    let print = format!("--ignore-certificate-errors-spki-list={}", certified.print);
    let serving = product.clone();
    tasks.spawn(async move { serving.serve(page, &certified).await });
    let _browser = open(&browser, dir.path(), &[&print], &format!("{own}/"));

    let reports = &mut reports_of_page;
    assert_eq!(reported(reports, "opened").await, STREAMS);
    let taken = balancer.taken();
    assert!(taken <= 3, "HTTP/2 carries all of them on one connection, and not on {taken}");
    append(&product, "one", STREAMS).await;
    assert_eq!(reported(reports, "one").await, 0, "none broke so far");
    // The node dies to which all of them lead; they come back at another, after what they had.
    cluster.kill(1);
    append(&product, "two", STREAMS).await;
    let each = json!(["one,two", true]);
    assert_eq!(reported(reports, "two").await, json!(vec![each; STREAMS]));

    assert_eq!(reported(reports, "expired").await, json!(["token_expired", "closed"]));
    append(&product, "last", 1).await;
    assert_eq!(reported(reports, "refreshed").await, json!(["one", "two", "last"]));

    let seen = json!([201, "", 200, "mine", 401, "unread", 204, "logged_out", 401]);
    assert_eq!(reported(reports, "cookie").await, seen);
    let (_, log) = product.ask(Method::GET, "sessions/s0/events", &Value::Null).await;
    let texts: Vec<_> = log["events"].as_array().expect("events").iter().collect();
    let texts: Vec<_> = texts.iter().map(|event| event["text"].as_str().unwrap_or("?")).collect();
    assert_eq!(texts, ["one", "two", "last", "mine"], "nobody forged anything");
}
